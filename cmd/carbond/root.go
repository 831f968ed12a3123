package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/client"
	"carbond/cmd/carbond/internal/config"
	"carbond/cmd/carbond/internal/logging"
)

// Exit codes that scripts depend on; 64 and 78 are those of sysexits(3).
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 64
	exitConfig  = 78
)

// errQuiet ends a command with exit code 1 after it has said everything itself.
var errQuiet = errors.New("failed")

// app is one run of the program.
type app struct {
	stdio
	configPath  string
	showVersion bool

	secrets config.Redaction

	began   bool         // the command line was right and its command runs
	log     *slog.Logger // of a daemon, nil in other commands
	jsonLog bool
	daemon  atomic.Bool   // the command is one, which SIGHUP does not end
	asked   chan struct{} // closed when a daemon has taken the signals for itself
	unknown error         // help was asked for what does not exist
}

// grace is how long a command may go on after a signal: one that waits in the kernel,
// to open a pipe that nobody writes to, does not hear of it.
const grace = 4 * time.Second

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, std stdio) int {
	a := &app{stdio: std, asked: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	root := a.root()
	root.SetArgs(args)
	quit, over := a.interrupts(cancel)
	defer over()
	done := make(chan int, 1)
	go func() {
		cmd, err := root.ExecuteContextC(ctx)
		done <- a.exit(cmd, cmp.Or(err, a.unknown))
	}()
	select {
	case code := <-done:
		return code
	case <-quit:
		fmt.Fprintf(a.err, "carbond: %v\n", context.Cause(ctx))
		return exitFailure
	}
}

// interrupts ends a command at a signal, until it is over or a daemon has taken the
// signals for itself. quit is closed when the command does not end in time, or at a
// second signal.
func (a *app) interrupts(cancel context.CancelCauseFunc) (quit <-chan struct{}, over func()) {
	late, ended := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		var wait <-chan time.Time
		for {
			select {
			case s := <-a.signals:
				if s == syscall.SIGHUP && a.daemon.Load() {
					continue // the configuration is being read at this moment
				}
				if wait != nil {
					close(late)
					return
				}
				cancel(fmt.Errorf("stopped by signal: %s", s))
				wait = time.After(grace)
			case <-wait:
				close(late)
				return
			case <-a.asked:
				return
			case <-ended:
				return
			}
		}
	})
	return late, sync.OnceFunc(func() {
		close(ended)
		wg.Wait()
	})
}

// exit prints the error, if any, and chooses the exit code.
func (a *app) exit(cmd *cobra.Command, err error) int {
	var usage client.UsageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errQuiet):
		return exitFailure
	case errors.Is(err, syscall.EPIPE):
		return exitOK // the reader of a pipe (head) has enough
	case !a.began || errors.As(err, &usage):
		fmt.Fprintf(a.err, "%s: %s\nSee '%s --help'.\n", cmd.CommandPath(), a.printable(err.Error()), cmd.CommandPath())
		return exitUsage
	case errors.Is(err, config.ErrInvalid) && a.jsonLog:
		a.log.Error("carbond ends: the configuration is invalid", "error", err)
		return exitConfig
	case errors.Is(err, config.ErrInvalid):
		fmt.Fprintf(a.err, "%s: invalid configuration:\n", cmd.CommandPath())
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(a.err, "  %s\n", a.printable(line))
		}
		return exitConfig
	}
	if a.jsonLog {
		a.log.Error("carbond ends", "error", err)
		return exitFailure
	}
	fmt.Fprintf(a.err, "%s: %s\n", cmd.CommandPath(), a.printable(err.Error()))
	return exitFailure
}

// root builds the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "carbond",
		Short: "Carbon-market data from feeds or Postgres, joined and served over gRPC",
		Long: "carbond tails a Postgres database (or polls the feeds itself), keeps a changelog and\n" +
			"three views of it, and serves them over gRPC. It is one program without a broker.",
		Example:           "  carbond demo\n  carbond serve --config /etc/carbond/carbond.yaml\n  carbond view projects",
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              unknownCommand,
		RunE:              a.bare,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetHelpCommand(a.helpCommand())
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		// cobra prints the help of what it found, also for carbond statsu --help.
		if rest := cmd.Flags().Args(); cmd.HasSubCommands() && len(rest) > 0 {
			a.unknown = unknownCommand(cmd, rest)
			return
		}
		help(cmd, args)
	})
	// A flag of our own: cobra's would print through a template, and a binary
	// with text/template in it cannot be stripped of unused methods.
	root.Flags().BoolVarP(&a.showVersion, "version", "v", false, "print version, revision, build date and Go version")
	root.PersistentFlags().StringVarP(&a.configPath, "config", "c", "",
		"configuration file; default $CARBOND_CONFIG or "+config.DefaultPath+" (which may be missing)")
	root.AddCommand(
		cmdServe(a),
		cmdDemo(a),
		cmdCheckConfig(a),
		cmdDoctor(a),
		cmdMigrate(a),
		cmdTeardown(a),
		cmdImport(a),
		cmdStatus(a),
		cmdTopics(a),
		cmdConsume(a),
		cmdGroups(a),
		cmdFleet(a),
		cmdWebhooks(a),
		cmdView(a),
		cmdFeeds(a),
		cmdCache(a),
		cmdResnapshot(a),
		cmdVerify(a),
		cmdSelftest(a),
		cmdFsck(a),
		cmdBackup(a),
		cmdRestore(a),
		cmdBench(a),
		cmdHealthcheck(a),
		cmdVersion(a),
		cmdCompletion(a),
		cmdMan(a),
	)
	a.finish(root)
	return root
}

// finish makes a command note that it began: every error before that is one of
// usage, wherever in cobra it came from.
func (a *app) finish(c *cobra.Command) {
	c.SuggestionsMinimumDistance = 2
	if run := c.RunE; run != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			a.began = true
			return run(cmd, args)
		}
	}
	for _, sub := range c.Commands() {
		a.finish(sub)
	}
}

// unknownCommand refuses arguments of a command that only has subcommands.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += " (did you mean " + strings.Join(near, " or ") + "?)"
	}
	return client.Usage(errors.New(text))
}

// bare is carbond without a command.
func (a *app) bare(cmd *cobra.Command, _ []string) error {
	if !a.showVersion {
		return cmd.Help()
	}
	_, err := fmt.Fprintln(a.out, build())
	return err
}

// noArgs refuses any argument.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return client.Usage(fmt.Errorf("unexpected argument %q", args[0]))
	}
	return nil
}

// helpCommand is cobra's, except that an unknown topic is a usage error.
func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Print the help of a command",
		Example: "  carbond help serve",
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(found, append(rest, args...))
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

// load reads the configuration and prints its warnings. Flags are the
// strongest layer, by key name.
func (a *app) load(flags map[string]string) (*config.Config, error) {
	cfg, warnings, err := config.Load(a.sources(flags))
	for _, w := range warnings {
		fmt.Fprintf(a.err, "warning: %s\n", a.printable(w.String()))
	}
	if err != nil {
		return nil, err
	}
	a.secrets.Add(cfg)
	return cfg, nil
}

// loadDaemon is load for a daemon, whose warnings are lines of its log.
func (a *app) loadDaemon(ctx context.Context, flags map[string]string) (*config.Config, *slog.LevelVar, error) {
	a.daemon.Store(true)
	cfg, warnings, err := config.Load(a.sources(flags))
	if err == nil {
		err = context.Cause(ctx) // a signal came while a file was waited for
	}
	if err != nil {
		return nil, nil, err
	}
	a.secrets.Add(cfg)
	log, level := a.logger(cfg)
	a.log, a.jsonLog = log, cfg.Log.Format == "json"
	for _, w := range warnings {
		log.Warn("configuration", "warning", w.String())
	}
	return cfg, level, nil
}

// redact removes known secrets and the passwords of URLs from a text.
func (a *app) redact(s string) string { return a.secrets.Text(s) }

// printable is a text for a terminal, without secrets.
func (a *app) printable(s string) string { return client.Lines(a.redact(s)) }

// count is a number with its word.
func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// logger returns the daemon's logger and the level that a reload may change.
func (a *app) logger(cfg *config.Config) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(cfg.Log.Slog())
	return logging.New(a.err, logging.Options{
		Format:  cfg.Log.Format,
		Level:   level,
		Journal: logging.ToJournal(a.err, a.getenv("JOURNAL_STREAM")),
		Redact:  a.redact,
	}), level
}

// progress shows how far a command is, beside what it prints.
func (a *app) progress() *client.Progress { return client.NewProgress(a.err, a.out, a.redact) }

// sources says where the configuration of this run comes from.
func (a *app) sources(flags map[string]string) config.Options {
	path := a.configPath
	if path == "" {
		path = config.Path(a.env)
	}
	return config.Options{Path: path, Env: a.env, Flags: flags}
}

// getenv reads a variable of this run's environment.
func (a *app) getenv(name string) string {
	for i := len(a.env) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(a.env[i], "="); ok && k == name {
			return v
		}
	}
	return ""
}
