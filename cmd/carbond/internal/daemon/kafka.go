package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"carbond/cmd/carbond/internal/config"
	"carbond/rpc/kafka"
)

// bindKafka takes the address for Kafka's clients: the configured one, or the first
// port of loopback from Options.KafkaPort on that nobody has.
func (d *Daemon) bindKafka(ctx context.Context, addr string) (err error) {
	var lc net.ListenConfig
	if addr != "" {
		d.kafkaListener, err = lc.Listen(ctx, "tcp", addr)
		return err
	}
	for port := d.opt.KafkaPort; port > 0; port++ {
		d.kafkaListener, err = lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
	return nil
}

// buildKafka makes the listener for Kafka's clients. Their tokens are those of the
// gRPC API, read again with them.
func (d *Daemon) buildKafka(_ context.Context, cfg *config.Config) (err error) {
	if d.kafkaListener == nil {
		return nil
	}
	opt := kafka.Options{
		Log: d.log.With("stage", "kafka"), Registerer: d.met.reg, Version: d.opt.Version.Version,
		Format: cfg.Kafka.Format, Advertise: cfg.Kafka.Advertise, PeerShare: cfg.Limits.PeerShare,
	}
	if d.kafkaCerts != nil {
		opt.TLS = d.kafkaCerts.Config()
	}
	if cfg.GRPC.TokensFile != "" {
		opt.Allows = d.api.Allows
	}
	if d.kafka, err = kafka.New(d.store, opt); err != nil {
		return fmt.Errorf("make the Kafka listener: %w", err)
	}
	return nil
}

// kafkaAddr is where Kafka's clients connect, "" for nowhere.
func (d *Daemon) kafkaAddr() string {
	if d.kafkaListener == nil {
		return ""
	}
	return d.kafkaListener.Addr().String()
}
