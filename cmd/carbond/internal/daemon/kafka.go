package daemon

import (
	"context"
	"fmt"

	"carbond/cmd/carbond/internal/config"
	"carbond/rpc/kafka"
)

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
