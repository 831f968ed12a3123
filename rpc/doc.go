// Package rpc serves carbon.CarbonService.
package rpc
