// Package pagetest looks at the console page with a real browser: axe-core finds
// nothing to say against it in light, in dark and on a narrow screen, in health
// and in trouble; it is whole without its script and fresh with it; and it obeys
// its own content security policy.
//
// It has a module of its own, so that nothing of it reaches the program.
package pagetest
