// Package payload guards the parsers of the feeds against what upstreams really
// send: it tells a JSON answer from an HTML page, an empty body or half a body,
// and reads scalars that come as a number one day and as a string the next.
//
// Invariants
//
//  1. A body that is not the JSON value asked for gives one of the named errors
//     of this package, never a panic and never a partly filled result.
//  2. A single odd field never fails a whole body: Number and Text take any JSON
//     value and say afterwards whether it was absent, usable or bad. The parser
//     refuses the field and counts it in a Tally.
//  3. No part of a body appears in an error: bodies may carry personal data.
//  4. Work and memory are bounded by the size of the body and by the element
//     limit that the parser gives to Each.
//
// The package does no I/O and keeps no state. It sits below the feed parsers
// (feeds/verra, feeds/carbonmark and the others) and imports only the standard
// library.
package payload
