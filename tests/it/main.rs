//! Black-box tests: a scripted origin behind the edge, strict clients before it.
//!
//! - `accounting`: one line and one count per request, and what they say.
//! - `architecture`: who may import whom; every crate has its reason written down.
//! - `asked`: the LMS keeps deciding who may have what is stored.
//! - `bad_input`: what is malformed, ambiguous or too long gets a clear answer and costs others nothing.
//! - `chromium`: what a browser does to a film: it opens, aborts and seeks.
//! - `coding`: coded variants, made once beside the requests, and never of what is outdated.
//! - `collapse`: one fill per thing, whatever the number of clients and who gives up.
//! - `config`: checking a file, and taking a changed one while requests are under way.
//! - `continuations`: what is cut goes on if its bytes have a name; what is not whole is not served as whole.
//! - `control_tls`: the control listener over TLS, for those whose certificates it knows.
//! - `corpus`: what a fuzzer found once stays found.
//! - `disk_faults`: a medium that is full, read-only or broken costs what it would have kept, and no answer.
//! - `disk`: bodies that survive restarts, are kept once, and whose loss is nobody's outage.
//! - `disk`: what is stored survives, is larger than memory, and is as outdated as anything else.
//! - `down`: an LMS that is gone for a while, and comes back.
//! - `ends`: bodies that end wrongly, bytes between responses, origins that are down, slow or mad.
//! - `explain`: what it says of a request is what becomes of it then, and nothing comes of saying it.
//! - `fills`: how long a fill lives, what it may hold, and that nothing short or wrong comes of it.
//! - `frames`: HTTP/2 frame by frame, each fault with the code that the standard names.
//! - `interleavings`: random orders of everything that can meet, held to a model.
//! - `invalidation`: what an unsafe method makes outdated, and what a HEAD tells of what is stored.
//! - `kolibri`: before Kolibri as it was measured, with its faults.
//! - `limit`: who takes too long, too much or too many is ended, and the others are served.
//! - `moodle`: before Moodle as it was measured, with its faults.
//! - `mount`: a storage under the LMS's own host, which learns nothing of it.
//! - `origin_name`: an origin's name that moves, fails and comes.
//! - `pass`: the relay.
//! - `pipelines`: the scripts of the page for pipelines, as they stand there.
//! - `purge`: what is acknowledged is in force, whatever is under way.
//! - `purge_kinds`: what each kind of purge covers and what it leaves, in memory and on disk.
//! - `purge_shapes`: purges as pipelines of other products ask for them.
//! - `range`: one range of a body, from what is stored or growing; everything else whole.
//! - `ranges`: several ranges, ranges of what grows, and cold ones: what the origin is asked for.
//! - `releases`: old bytes never stand under a new version.
//! - `settle`: what comes shortly after a purge is kept for a short time; purges that only count.
//! - `shutdown`: stopping in order, and starting again.
//! - `signed`: who shows a signature is let in, and nobody else gets a byte.
//! - `stale`: what is stale serves within its windows only, and never what was withdrawn.
//! - `store`: the store commands on what a running edge has kept.
//! - `storing`: what is never stored, and what a fill may send.
//! - `support_selftest`: the origin and the clients do what the other tests rely on.
//! - `switch`: a site or the node relays everything, or spares its origin, with one command.
//! - `targeted`: what an origin says to this kind of cache alone, and of single fields.
//! - `tenant`: whose page it is: hosts, schemes and spellings that must not meet in one entry.
//! - `tls`: who is shown which certificate, and what is asked of whom.
//! - `upgrade`: a new process takes the place of the running one, and nobody notices.
//! - `validation`: conditions, of clients and of the edge's own.
//! - `vary`: variants of one URL: chosen by the request's fields, bounded, never mixed.
//! - `window`: what a fill holds for readers that are behind, and what becomes of them.
//! - `wishes`: what a request asks of a cache, heeded where a rule says so.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod accounting;
mod architecture;
mod asked;
mod bad_input;
mod chromium;
mod coding;
mod collapse;
mod config;
mod continuations;
mod control_tls;
mod corpus;
mod disk;
mod disk_faults;
mod down;
mod ends;
mod explain;
mod fills;
mod frames;
mod interleavings;
mod invalidation;
mod kolibri;
mod limit;
mod moodle;
mod mount;
mod origin_name;
mod pass;
mod pipelines;
mod purge;
mod purge_kinds;
mod purge_shapes;
mod range;
mod ranges;
mod releases;
mod settle;
mod shutdown;
mod signed;
mod stale;
mod store;
mod storing;
mod support;
mod support_selftest;
mod switch;
mod targeted;
mod tenant;
mod tls;
mod upgrade;
mod validation;
mod vary;
mod warm;
mod window;
mod wishes;
