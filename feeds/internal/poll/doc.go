// Package poll is what the pollers of all upstreams share: the Source that the
// Runner drives, the Cycle of one poll, the Writer that rows go to, and the rows
// that a source knows and misses.
//
// Place in the flow: feeds -> verra, carbonmark, finance, news -> poll -> fetch.
package poll
