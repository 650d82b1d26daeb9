//! Black-box tests: a scripted origin behind the edge, strict clients before it.
//!
//! - `accounting`: one line and one count per request, and what they say.
//! - `architecture`: who may import whom; every crate has its reason written down.
//! - `bad_input`: what is malformed, ambiguous or too long gets a clear answer and costs others nothing.
//! - `collapse`: one fill per thing, whatever the number of clients and who gives up.
//! - `config`: checking a file, and taking a changed one while requests are under way.
//! - `ends`: bodies that end wrongly, bytes between responses, origins that are down, slow or mad.
//! - `fills`: how long a fill lives, what it may hold, and that nothing short or wrong comes of it.
//! - `limit`: who takes too long, too much or too many is ended, and the others are served.
//! - `origin_name`: an origin's name that moves, fails and comes.
//! - `pass`: the relay.
//! - `purge`: what is acknowledged is in force, whatever is under way.
//! - `range`: one range of a body, from what is stored or growing; everything else whole.
//! - `shutdown`: stopping in order, and starting again.
//! - `stale`: what is stale serves within its windows only, and never what was withdrawn.
//! - `storing`: what is never stored, and what a fill may send.
//! - `support_selftest`: the origin and the clients do what the other tests rely on.
//! - `tenant`: whose page it is: hosts, schemes and spellings that must not meet in one entry.
//! - `tls`: who is shown which certificate, and what is asked of whom.
//! - `upgrade`: a new process takes the place of the running one, and nobody notices.
//! - `validation`: conditions, of clients and of the edge's own.
//! - `vary`: variants of one URL: chosen by the request's fields, bounded, never mixed.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod accounting;
mod architecture;
mod bad_input;
mod collapse;
mod config;
mod ends;
mod fills;
mod limit;
mod origin_name;
mod pass;
mod purge;
mod range;
mod shutdown;
mod stale;
mod storing;
mod support;
mod support_selftest;
mod tenant;
mod tls;
mod upgrade;
mod validation;
mod vary;
