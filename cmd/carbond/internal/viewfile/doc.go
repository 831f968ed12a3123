// Package viewfile keeps the three views as JSON-lines files: projects.jsonl,
// news.jsonl and finance.jsonl in one directory, for those who read files in
// place of an API.
//
// A line is a row of the view with "diff", 1 for a row that comes and -1 for one
// that goes, and "time", the commit time of the source transaction in ms since
// 1970. An update is two lines, -1 then 1. Lines come in commit order. Adding up
// the diffs of equal rows from the first line of a fill on gives the view.
//
// A file that has grown to Options.RotateBytes is renamed to
// projects.000001.jsonl, with the next number each time, and the newest
// Options.Keep of these are kept. Rotation happens between transactions.
//
// # Durability
//
// Lines are written as soon as their transaction is visible, but reach the disk
// at the next sync only, every Options.Sync. A sync is: fsync of the files that
// grew, then views.state.json with the changelog offset and the length of each
// file, replaced by rename and fsynced with its directory.
//
// Invariants
//
//  1. The lengths in the state file never exceed what was fsynced, and the lines
//     within them are exactly those up to its offset.
//  2. After a crash, by signal or loss of power, the files are cut to these
//     lengths and go on behind the offset: no line is missing and none is there
//     twice. What is cut off comes again byte for byte, because a line is a
//     function of the changelog.
//  3. When the changelog no longer holds what came behind the offset, or the
//     files are not those of the state file, what is there is moved aside as by a
//     rotation, and a fill follows: every row of the views with diff 1. The log
//     and carbond_viewfile_refills_total say so.
//  4. An error, such as a full disk, never ends Run: it goes back to the last
//     sync and tries again.
//
// One process at a time writes a directory; a lock file keeps others out.
package viewfile
