package daemon

import (
	"context"

	"carbond/store/change"
)

// AtLSN implements rpc.History.
func (h history) AtLSN(ctx context.Context, lsn change.LSN) (change.Offset, error) {
	at, err := h.s.AtLSN(ctx, lsn)
	return at, h.fault(err)
}
