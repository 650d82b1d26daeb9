//! What a token may do: a set of roles, none of which includes another.

use std::fmt;

/// One thing that a token may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reading: the ledger, releases, explanations.
    Read,
    /// Purges of every kind.
    Purge,
    /// What the release of a module needs: its steps, purges of modules, warm-ups.
    Release,
    /// The node: reload, switches, forgetting of access.
    Operate,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 4] = [Role::Read, Role::Purge, Role::Release, Role::Operate];

    /// The word for it in the token file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Purge => "purge",
            Role::Release => "release",
            Role::Operate => "operate",
        }
    }

    /// The role of this name.
    pub fn named(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// Several roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// These.
    pub const fn of(roles: &[Role]) -> Roles {
        let (mut set, mut at) = (0, 0);
        while at < roles.len() {
            set |= 1 << roles[at] as u8;
            at += 1;
        }
        Roles(set)
    }

    /// Reads names parted by commas; none if there is no name, or one that is no role's.
    pub fn named(names: &str) -> Option<Roles> {
        let roles = names.split(',').map(Role::named).collect::<Option<Vec<_>>>()?;
        Some(Roles::of(&roles))
    }

    /// Is it among them?
    pub const fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }

    /// Is any of those among them?
    pub const fn any(self, of: Roles) -> bool {
        self.0 & of.0 != 0
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Role::ALL.into_iter().filter(|role| self.has(*role)).map(Role::as_str).collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::{Role, Roles};

    #[test]
    fn roles_come_back_from_their_names_and_no_other_name_is_one() {
        for (names, roles) in [
            ("read", &[Role::Read][..]),
            ("read,purge", &[Role::Read, Role::Purge]),
            ("read,purge,release,operate", &Role::ALL),
        ] {
            let set = Roles::named(names).unwrap();
            assert_eq!((set, set.to_string().as_str()), (Roles::of(roles), names));
            assert!(Role::ALL.iter().all(|role| set.has(*role) == roles.contains(role)), "{names}");
        }
        assert_eq!(Roles::named("purge,read"), Roles::named("read,purge"));
        for wrong in ["", ",", "read,", "all", "Read", "read purge", "read, purge"] {
            assert_eq!(Roles::named(wrong), None, "{wrong:?}");
        }
        assert!(Roles::of(&[Role::Read]).any(Roles::of(&Role::ALL)));
        assert!(!Roles::of(&[Role::Read]).any(Roles::of(&[Role::Purge, Role::Operate])));
        assert!(!Roles::default().any(Roles::of(&Role::ALL)));
    }
}
