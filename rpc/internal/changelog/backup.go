package changelog

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	pb "carbond/proto/carbon"
	"carbond/rpc/rpcerr"
)

// backupPiece is the most that one message of a backup holds.
const backupPiece = 256 << 10

// Backup implements carbon.ChangelogService.
//
// The copy is written by a goroutine of its own, so that it can be given up
// while Send waits for a client that reads no more: a copy holds back retention
// and keeps pages of the checkpoint from being used again.
func (s *Service) Backup(_ *pb.BackupRequest, ss pb.ChangelogService_BackupServer) error {
	select {
	case s.backup <- struct{}{}:
	default:
		return refuse(codes.ResourceExhausted, rpcerr.ReasonBackup, errors.New("a backup is running already; they are taken one at a time"))
	}
	ctx, cancel := context.WithCancelCause(ss.Context())
	p := &pieces{ctx: ctx, out: make(chan []byte)}
	done := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() { <-s.backup }()
		defer close(p.out)
		err := s.log.Backup(ctx, p, s.opt.Version)
		if err == nil {
			err = p.flush()
		}
		done <- err
	})
	defer wg.Wait()
	defer cancel(nil)
	for data := range p.out {
		t := time.AfterFunc(s.opt.BackupStall, func() { cancel(errSlowBackup) })
		err := ss.Send(&pb.BackupResponse{Data: data})
		t.Stop()
		if err != nil {
			return err
		}
		select {
		case <-s.opt.Draining:
			return draining()
		default:
		}
	}
	err := <-done
	if err != nil && errors.Is(context.Cause(ctx), errSlowBackup) {
		return refuse(codes.Aborted, rpcerr.ReasonSlow, errSlowBackup)
	}
	return s.status(ss.Context(), err)
}

// pieces is a writer that hands on what it gets in pieces.
type pieces struct {
	ctx context.Context // of the one call that made it
	out chan []byte
	buf []byte
}

// Write implements io.Writer.
func (p *pieces) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if p.buf == nil {
			p.buf = make([]byte, 0, backupPiece)
		}
		k := min(len(b), backupPiece-len(p.buf))
		p.buf = append(p.buf, b[:k]...)
		b = b[k:]
		if len(p.buf) == backupPiece {
			if err := p.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// flush hands on what is left.
func (p *pieces) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	select {
	case p.out <- p.buf:
		p.buf = nil
		return nil
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}
