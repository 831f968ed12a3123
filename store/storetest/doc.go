// Package storetest has a naive model of the store and a seeded generator of
// source transactions, for tests of the store and of what stands on it.
//
// The model is written from the SQL of the contract and shares no code with the
// store but the words of package change.
package storetest
