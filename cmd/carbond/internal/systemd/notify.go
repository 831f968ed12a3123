// Package systemd speaks sd_notify(3) to the service manager: readiness, status
// text, reloads, longer start-ups and the watchdog.
//
// Every call is a no-op when no manager listens. The environment is passed in
// and never changed, so that tests can listen themselves.
package systemd

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Notifier sends state to the service manager. A nil Notifier is silent.
type Notifier struct {
	socket   string
	watchdog time.Duration
}

// New reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID from the environment.
// pid is the number of this process: a watchdog meant for another is ignored.
func New(getenv func(string) string, pid int) *Notifier {
	n := &Notifier{socket: getenv("NOTIFY_SOCKET")}
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if p := getenv("WATCHDOG_PID"); err != nil || usec <= 0 || (p != "" && p != strconv.Itoa(pid)) {
		return n
	}
	n.watchdog = time.Duration(usec) * time.Microsecond
	return n
}

// Ready says that start-up, or a reload, is complete.
func (n *Notifier) Ready(status string) error { return n.send("READY=1", "STATUS="+oneLine(status)) }

// Status sets the text that `systemctl status` shows.
func (n *Notifier) Status(status string) error { return n.send("STATUS=" + oneLine(status)) }

// Reloading says that a reload has begun; Ready ends it.
func (n *Notifier) Reloading() error {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return fmt.Errorf("read the monotonic clock: %w", err)
	}
	return n.send("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", ts.Nano()/1000))
}

// Stopping says that shutdown has begun.
func (n *Notifier) Stopping(status string) error {
	return n.send("STOPPING=1", "STATUS="+oneLine(status))
}

// Extend asks for more time to start or stop, counted from now.
func (n *Notifier) Extend(d time.Duration, status string) error {
	return n.send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds()), "STATUS="+oneLine(status))
}

// Alive feeds the watchdog once.
func (n *Notifier) Alive() error { return n.send("WATCHDOG=1") }

// Watchdog returns the time after which the manager kills a silent process, or
// 0 when it does not watch.
func (n *Notifier) Watchdog() time.Duration {
	if n == nil || n.socket == "" {
		return 0
	}
	return n.watchdog
}

func (n *Notifier) send(lines ...string) error {
	if n == nil || n.socket == "" {
		return nil
	}
	// A leading "@" is an abstract socket, which package net understands.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(strings.Join(lines, "\n"))); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	return nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
