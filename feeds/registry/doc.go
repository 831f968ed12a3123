// Package registry reads the exports of carbon registries that people have on disk, as
// CSV: projects and units of Verra, Gold Standard, ACR, CAR and Puro. It turns them into
// edits of the tables verra and vintages. It does no network I/O and has no clock.
//
// A file is known by its header row, which need not be the first one. Separator (comma,
// semicolon, tab, bar) and encoding (UTF-8, UTF-16, Windows-1252 line by line) are found
// out. Header names were compared with the exports as public programs read them
// (carbonplan/offsets-db-data and others); see formats for each registry's.
//
// # Invariants
//
//  1. Unknown stays unset: an empty cell takes nothing back, a cell that cannot be read
//     is counted and named, never guessed at.
//  2. Rows of units are summed up by project and vintage, and not kept: memory grows with
//     those. Sums by vintage are set only for projects all of whose rows could be read.
//  3. A supply is set only where issued, retired and cancelled units are all in the
//     files of one import, and where they do not contradict each other.
//  4. The order of day and month holds for a whole file. Where no date of it tells, dates
//     that could be either stay unset.
package registry
