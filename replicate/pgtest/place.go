package pgtest

import (
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// longestRoot leaves room below 107 bytes for "/carbond-pg-<number>/" and the
// name of a socket.
const longestRoot = 60

// tempRoot returns where to make the folder of a cluster: the folder for
// temporary files, unless its path is too long for a socket, or another user
// has to get there and cannot. "" is that folder.
func tempRoot(other bool) string {
	root := os.TempDir()
	if len(root) <= longestRoot && (!other || open(root)) {
		return ""
	}
	return "/tmp"
}

// open reports whether every user can pass through a folder.
func open(dir string) bool {
	dir, err := filepath.Abs(dir)
	for err == nil {
		var fi os.FileInfo
		if fi, err = os.Stat(dir); err != nil || fi.Mode()&0o001 == 0 {
			return false
		}
		if up := filepath.Dir(dir); up != dir {
			dir = up
			continue
		}
		return true
	}
	return false
}

// FreePort finds a port of 127.0.0.1 for a server that is started later, or
// stopped and started again. Unlike those that the system hands out, no client's
// connection and no listener on port 0 gets it meanwhile.
func FreePort() (int, error) {
	from, to := belowEphemeral()
	for range 100 {
		port := from + rand.IntN(to-from)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// belowEphemeral returns a range of ports that the system never hands out by
// itself. Where it hands out nearly all, the range is as good as any.
func belowEphemeral() (from, to int) {
	const least = 10_000
	to = 32_768 // Linux, unless configured; others begin higher
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if f := strings.Fields(string(b)); err == nil && len(f) == 2 {
		if low, err := strconv.Atoi(f[0]); err == nil && low > least+5000 {
			to = low
		}
	}
	return least, to
}
