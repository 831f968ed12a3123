// Package daemon runs carbond: it makes every stage from the configuration, starts
// them, answers whether they are well, and stops them in numbered steps.
//
// Its invariants:
//
//  1. Stages are made and started in the order in which data flows, receivers before
//     senders, and none is started before all are made.
//  2. One verdict says whether the daemon is ready; gRPC health, /readyz, the page
//     and the metrics show that one.
//  3. A reload that is refused has changed nothing.
//  4. A stop runs every step, each within its time, whatever the ones before it did.
//
// The commands call Run; those that look at a stage without the daemon (doctor,
// feeds fetch, restore) take the options of the stage from here.
package daemon
