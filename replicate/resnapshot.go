package replicate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"carbond/store/change"
)

// Resnapshot copies a table again beside the stream, and returns when its rows are in
// the changelog: those of a view as differences, others as r. The table
// is named by its topic, as schema.table, or, one of the views, alone.
func (r *Replicator) Resnapshot(ctx context.Context, table string) error {
	topic := table
	switch {
	case change.TableOf(table) != nil:
		topic = change.TopicName(table)
	case !strings.HasPrefix(table, "carbon."):
		topic = "carbon." + table
		if schema, name, ok := strings.Cut(table, "."); ok {
			topic = change.PlainTopic(schema, name)
			if r.opt.Keeps(schema, name) {
				topic = change.TopicName(name)
			}
		}
	}
	if _, known := r.sink.Marks()[topic]; !known && !slices.ContainsFunc(change.Tables(), func(t string) bool { return change.TopicName(t) == topic }) {
		return fmt.Errorf("%w: %q", change.ErrTopicUnknown, table)
	}
	done := make(chan error, 1)
	r.wanted.add(topic, done)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wanted are the tables that somebody wants copied again.
type wanted struct {
	wake chan struct{} // capacity 1, lossy

	mu     sync.Mutex // guards what follows
	topics map[string][]chan error
}

func newWanted() *wanted {
	return &wanted{wake: make(chan struct{}, 1), topics: map[string][]chan error{}}
}

func (w *wanted) any() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.topics) > 0
}

func (w *wanted) has(topic string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.topics[topic] != nil
}

func (w *wanted) add(topic string, done chan error) {
	w.mu.Lock()
	w.topics[topic] = append(w.topics[topic], done)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// done tells those who wait for a topic how it ended.
func (w *wanted) done(topic string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.topics[topic] {
		c <- err
	}
	delete(w.topics, topic)
}
