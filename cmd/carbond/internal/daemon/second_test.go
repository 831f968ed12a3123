package daemon

import (
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestSecondSignal: timeout(1) sends its signal twice, which is one request; a
// signal that comes later cuts the waits.
func TestSecondSignal(t *testing.T) {
	for name, tc := range map[string]struct {
		after  time.Duration
		signal os.Signal
		hurry  bool
	}{
		"the same once more":  {2 * time.Millisecond, syscall.SIGTERM, false},
		"just too soon":       {echo - 1, syscall.SIGTERM, false},
		"a person's second":   {echo, syscall.SIGINT, true},
		"much later":          {5 * time.Second, syscall.SIGTERM, true},
		"a reload in between": {time.Second, syscall.SIGHUP, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				signals, hurry, over := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
				go second(signals, hurry, over)
				synctest.Wait()
				<-time.After(tc.after)
				signals <- tc.signal
				synctest.Wait()
				select {
				case <-hurry:
					if !tc.hurry {
						t.Error("the waits are cut")
					}
				default:
					if tc.hurry {
						t.Error("the waits go on")
					}
				}
				close(over)
				synctest.Wait()
			})
		})
	}
}
