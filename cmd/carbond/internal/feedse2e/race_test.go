//go:build race

package feedse2e_test

const underRace = true
