package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
)

// Options shapes the logger.
type Options struct {
	Format  string              // "text" (also when empty) or "json"
	Level   slog.Leveler        // nil means info
	Journal bool                // journald reads the output
	Redact  func(string) string // nil means no redaction
}

// New returns a logger that writes to w, one Write for each record.
func New(w io.Writer, opt Options) *slog.Logger {
	h := &slog.HandlerOptions{Level: opt.Level, ReplaceAttr: opt.replace}
	if !opt.Journal {
		return slog.New(handler(w, opt.Format, h))
	}
	j := &journal{}
	for i, p := range priorities {
		j.by[i] = handler(&prefixed{w: w, prefix: p.prefix}, opt.Format, h)
	}
	return slog.New(j)
}

func handler(w io.Writer, format string, opt *slog.HandlerOptions) slog.Handler {
	if format == "json" {
		return slog.NewJSONHandler(w, opt)
	}
	return slog.NewTextHandler(w, opt)
}

// replace redacts every text and, under journald, drops time and level.
func (o Options) replace(groups []string, a slog.Attr) slog.Attr {
	if o.Journal && len(groups) == 0 && (a.Key == slog.TimeKey || (a.Key == slog.LevelKey && o.Format != "json")) {
		return slog.Attr{}
	}
	if a.Value.Kind() == slog.KindDuration { // JSON would have bare nanoseconds
		return slog.String(a.Key, a.Value.Duration().String())
	}
	if o.Redact == nil {
		return a
	}
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(o.Redact(a.Value.String()))
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case *slog.Source, slog.Level:
		case error:
			a.Value = slog.StringValue(o.Redact(v.Error()))
		case fmt.Stringer:
			a.Value = slog.StringValue(o.Redact(v.String()))
		case []string:
			out := make([]string, len(v))
			for i := range v {
				out[i] = o.Redact(v[i])
			}
			a.Value = slog.AnyValue(out)
		}
	}
	return a
}

// priorities maps levels to those of sd-daemon(3), highest first.
var priorities = [...]struct {
	from   slog.Level
	prefix string
}{
	{slog.LevelError, "<3>"},
	{slog.LevelWarn, "<4>"},
	{slog.LevelInfo, "<6>"},
	{slog.LevelDebug - 128, "<7>"},
}

// journal sends each record to the handler whose writer carries its priority.
type journal struct {
	by [len(priorities)]slog.Handler
}

func (j *journal) Enabled(ctx context.Context, l slog.Level) bool { return j.by[0].Enabled(ctx, l) }

func (j *journal) Handle(ctx context.Context, r slog.Record) error {
	for i, p := range priorities {
		if r.Level >= p.from {
			return j.by[i].Handle(ctx, r)
		}
	}
	return nil
}

func (j *journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	return j.each(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (j *journal) WithGroup(name string) slog.Handler {
	return j.each(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (j *journal) each(f func(slog.Handler) slog.Handler) *journal {
	c := &journal{}
	for i := range j.by {
		c.by[i] = f(j.by[i])
	}
	return c
}

// prefixed puts a prefix before every Write.
type prefixed struct {
	w      io.Writer
	prefix string
}

func (p *prefixed) Write(b []byte) (int, error) {
	line := make([]byte, 0, len(p.prefix)+len(b))
	if _, err := p.w.Write(append(append(line, p.prefix...), b...)); err != nil {
		return 0, err
	}
	return len(b), nil
}
