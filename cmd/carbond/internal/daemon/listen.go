package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"carbond/cmd/carbond/internal/certs"
	"carbond/cmd/carbond/internal/config"
)

// listeners are the addresses that the daemon serves, and the certificates there.
type listeners struct {
	grpc, http                       net.Listener
	kafka                            net.Listener  // nil without kafka.listen
	grpcCerts, httpCerts, kafkaCerts *certs.Source // nil for plain text
}

// bind takes the addresses and reads the certificates. kafkaPort is the first port
// of loopback to try for Kafka's clients without kafka.listen, 0 for none. After an
// error close gives back what it has.
func (l *listeners) bind(ctx context.Context, cfg *config.Config, kafkaPort int) (err error) {
	var lc net.ListenConfig
	if l.grpc, err = lc.Listen(ctx, "tcp", cfg.GRPC.Listen); err != nil {
		return bindError("grpc.listen", "--grpc-listen", err)
	}
	if l.http, err = lc.Listen(ctx, "tcp", cfg.HTTP.Listen); err != nil {
		return bindError("http.listen", "--http-listen", err)
	}
	if l.kafka, err = bindKafka(ctx, cfg.Kafka.Listen, kafkaPort); err != nil {
		return bindError("kafka.listen", "CARBOND_KAFKA_LISTEN", err)
	}
	if l.kafkaCerts, err = loadCerts("kafka", cfg.Kafka.TLS); err != nil {
		return err
	}
	if l.grpcCerts, err = loadCerts("grpc", cfg.GRPC.TLS, "h2"); err != nil {
		return err
	}
	l.httpCerts, err = loadCerts("http", cfg.HTTP.TLS, "http/1.1")
	return err
}

// bindKafka takes the configured address, or the first port that nobody has.
func bindKafka(ctx context.Context, addr string, from int) (net.Listener, error) {
	var lc net.ListenConfig
	if addr != "" {
		return lc.Listen(ctx, "tcp", addr)
	}
	for port := from; port > 0; port++ {
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
	}
	return nil, nil
}

// bindError says what to do about the one error that everybody meets.
func bindError(key, flag string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s: %w (is another carbond running? stop it, or choose another address with %s)", key, err, flag)
	}
	return fmt.Errorf("%s: %w", key, err)
}

// loadCerts reads the certificates of a listener; nil is one without TLS.
func loadCerts(section string, t config.TLS, protocols ...string) (*certs.Source, error) {
	if !t.Enabled() {
		return nil, nil
	}
	s, err := certs.Load(tlsFiles(t), protocols...)
	if err != nil {
		return nil, fmt.Errorf("%s.tls_cert: %w", section, err)
	}
	return s, nil
}

// close gives the addresses back.
func (l *listeners) close() error {
	var errs []error
	for _, x := range []net.Listener{l.grpc, l.http, l.kafka} {
		if x == nil {
			continue
		}
		if err := x.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// kafkaAddr is where Kafka's clients connect, "" for nowhere.
func (l *listeners) kafkaAddr() string {
	if l.kafka == nil {
		return ""
	}
	return l.kafka.Addr().String()
}
