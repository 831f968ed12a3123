package kafkatest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	topic = "carbon.public.finance"
	some  = 120 // messages of the demo's first seconds
)

// message is what each client gets.
type message struct {
	offset     int64
	key, value string
	time       int64
}

// demo runs `carbond demo` and returns the address for Kafka's clients.
func demo(t *testing.T) string {
	t.Helper()
	binary := os.Getenv("CARBOND_BINARY")
	if binary == "" {
		t.Fatal("CARBOND_BINARY is not set")
	}
	cmd := exec.CommandContext(t.Context(), binary, "demo", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "CARBOND_CONFIG="+os.DevNull, "TMPDIR="+t.TempDir(), "CARBOND_KAFKA_LISTEN=127.0.0.1:0")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it says in its own words what went wrong
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 1 && f[0] == "kafka" {
			go func() {
				for lines.Scan() { // so that it never waits for us
				}
			}()
			return strings.TrimSuffix(f[1], ",")
		}
	}
	t.Fatal("the demo does not say where Kafka's clients connect")
	return ""
}

// TestGoClients: three clients read the same from the beginning, in a group that is
// left and joined again.
func TestGoClients(t *testing.T) {
	addr := demo(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	got := map[string][]message{}
	for name, read := range map[string]func(context.Context, string, int) ([]message, error){"franz-go": franz, "sarama": saramaGroup, "kafka-go": segment} {
		first, err := read(ctx, addr, some/2)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		rest, err := read(ctx, addr, some/2)
		if err != nil {
			t.Fatalf("%s again: %v", name, err)
		}
		got[name] = append(first, rest...)
	}
	for name, ms := range got {
		if len(ms) != some {
			t.Fatalf("%s reads %d messages", name, len(ms))
		}
		for i, m := range ms {
			if m.offset != int64(i) || m != got["franz-go"][i] || m.value == "" {
				t.Fatalf("%s: message %d is %+v, of franz-go %+v", name, i, m, got["franz-go"][i])
			}
		}
	}
	admin(ctx, t, addr)
}

// franz reads and commits n messages as a member of a group.
func franz(ctx context.Context, addr string, n int) (out []message, err error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumerGroup("franz"), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for len(out) < n {
		f := c.PollRecords(ctx, n-len(out))
		if err := f.Err(); err != nil {
			return nil, err
		}
		for r := range f.RecordsAll() {
			out = append(out, message{r.Offset, string(r.Key), string(r.Value), r.Timestamp.UnixMilli()})
			if err := c.CommitRecords(ctx, r); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// collector is sarama's handler of one session.
type collector struct {
	n    int
	out  []message
	done context.CancelFunc
}

func (*collector) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*collector) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (c *collector) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for m := range claim.Messages() {
		c.out = append(c.out, message{m.Offset, string(m.Key), string(m.Value), m.Timestamp.UnixMilli()})
		if s.MarkMessage(m, ""); len(c.out) == c.n {
			s.Commit()
			c.done()
			return nil
		}
	}
	return nil
}

func saramaGroup(ctx context.Context, addr string, n int) ([]message, error) {
	cfg := sarama.NewConfig()
	cfg.Version = sarama.V2_8_0_0
	cfg.Consumer.Offsets.Initial = sarama.OffsetOldest
	cfg.Consumer.Offsets.AutoCommit.Enable = false
	g, err := sarama.NewConsumerGroup([]string{addr}, "sarama", cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &collector{n: n, done: cancel}
	err = g.Consume(ctx, []string{topic}, c)
	return c.out, errors.Join(err, g.Close())
}

func segment(ctx context.Context, addr string, n int) (out []message, err error) {
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{addr}, GroupID: "segment", Topic: topic, StartOffset: kafka.FirstOffset, MaxWait: time.Second})
	defer func() { err = errors.Join(err, r.Close()) }()
	for len(out) < n {
		m, err := r.FetchMessage(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, message{m.Offset, string(m.Key), string(m.Value), m.Time.UnixMilli()})
		if err := r.CommitMessages(ctx, m); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// admin asks what administration tools ask, and tries what is refused.
func admin(ctx context.Context, t *testing.T, addr string) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a := kadm.NewClient(c)
	lags, err := a.Lag(ctx, "franz", "sarama", "segment")
	if err == nil {
		err = lags.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, g := range lags {
		l, ok := g.Lag.Lookup(topic, 0)
		if g.State != "Empty" || !ok || l.Commit.At != some || l.Lag != l.End.Offset-some {
			t.Errorf("group %s: %s, %+v", name, g.State, l)
		}
	}
	if _, err := a.DescribeTopicConfigs(ctx, topic); err != nil {
		t.Error(err)
	}
	dirs, err := a.DescribeAllLogDirs(ctx, nil)
	if err != nil || len(dirs) != 1 {
		t.Errorf("log directories: %v, %v", dirs, err)
	}
	deleted, err := a.DeleteGroup(ctx, "sarama")
	if err = errors.Join(err, deleted.Err); err != nil {
		t.Error(err)
	}
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr(); err == nil || !strings.Contains(fmt.Sprint(err), "TOPIC_AUTHORIZATION_FAILED") {
		t.Errorf("a message is written: %v", err)
	}
}
