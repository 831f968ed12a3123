// Package news reads RSS, Atom, RDF, JSON Feed and GDELT answers into headline
// rows: it repairs charsets and dates, cleans links, keeps only stories about
// carbon markets, and gives every story one identity however often and however
// decorated it arrives.
//
// The parsers are pure: bytes and a time in, items or a named error out. A
// Poller, one for each feed, asks through the Cycle that it is given and starts
// nothing.
//
// Invariants
//
//  1. Only headline, link, short summary, outlet and time leave the package. No
//     article body, no image and no e-mail address: author and editor fields
//     are never read, and addresses in text or links are dropped.
//  2. GUID is the md5, in hexadecimal, of the canonical link: https, host in
//     lower case, no fragment, no tracking parameter (trackers.txt), no needless
//     escape, no trailing slash. Where several stories of a feed share a link, the
//     story's own id, the fragment or the title goes into it as well. An item
//     without a usable link is identified by its feed and its own id, one with
//     neither by its feed, title and date. Two items with one GUID are one story.
//  3. A Link is http or https with a host, or empty.
//  4. PublishedAt lies between 1990 and the time of fetching plus one hour. A
//     story whose date is missing, unreadable or outside takes that of the nearest
//     dated item of its document, and is marked DateEstimated: a writer keeps the
//     date of a row that it already has. Without any date in the document it is
//     zero and Published is empty.
//  5. Published is PublishedAt in RFC 822 form with the four-digit year of RFC
//     1123 and a numeric zone, always UTC: "Mon, 23 Nov 2026 10:00:00 +0000".
//  6. What is broken in one item costs that item: bad XML and JSON are mended, and
//     each run of text that is not UTF-8 is decoded by itself.
//  7. Work and memory are bounded by the size of the body: depth, elements,
//     attributes and namespaces are counted before anything is built, and
//     entities of a document type are never expanded.
//
// Stories that reach carbond through GDELT carry its attribution, see
// GDELTAttribution.
package news
