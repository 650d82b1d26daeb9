//! The modules of a site that have releases. One writer; readers never wait, and a site without such modules costs one load.

use super::step::{Module, Step, Told};
use arc_swap::ArcSwap;
use hashbrown::HashMap;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Modules by their names.
#[derive(Debug, Default)]
pub struct Modules {
    /// There is at least one.
    any: AtomicBool,
    by_name: ArcSwap<HashMap<Arc<str>, Arc<ArcSwap<Module>>>>,
}

impl Modules {
    /// Whether there is one.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// What the records of a module add up to; none: it was never staged.
    pub fn get(&self, name: &str) -> Option<Arc<Module>> {
        Some(self.by_name.load().get(name)?.load_full())
    }

    /// All of them.
    pub fn all(&self) -> Vec<(Arc<str>, Arc<Module>)> {
        self.by_name.load().iter().map(|(name, module)| (name.clone(), module.load_full())).collect()
    }

    /// Puts a module in its place, as it was written down.
    pub(super) fn restore(&self, name: &str, module: Module) {
        let mut more = HashMap::clone(&self.by_name.load());
        more.insert(name.into(), Arc::new(ArcSwap::from_pointee(module)));
        self.by_name.store(Arc::new(more));
        self.any.store(true, Ordering::Release);
    }

    /// Takes in one more step. Only the ledger's writer calls this.
    pub(super) fn step(&self, step: &Step, told: &Told) {
        let (name, _) = step.of();
        let known = self.by_name.load().get(name).cloned();
        match known {
            Some(module) => module.store(Arc::new(module.load().after(step, told.clone()))),
            None => {
                self.restore(name, Module::default().after(step, told.clone()));
            }
        }
    }
}
