package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/client"
	pb "carbond/proto/carbon"
)

func cmdCompletion(a *app) *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use:       "completion SHELL",
		Short:     "Print the completion script for bash, zsh or fish",
		Example:   "  carbond completion bash > /usr/share/bash-completion/completions/carbond",
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("want one shell: %s", strings.Join(shells, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			}
			return client.Usage(fmt.Errorf("unknown shell %q: want %s", args[0], strings.Join(shells, ", ")))
		},
	}
}

// completeTime bounds the wait of a shell for names that the daemon knows. Without
// an answer there are none.
const completeTime = time.Second

type completer func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// complete completes by what names returns.
func complete(names func(context.Context) ([]string, error)) completer {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, cancel := context.WithTimeout(ctx, completeTime)
		defer cancel()
		found, err := names(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeTopics completes the topics of the daemon that c reaches.
func completeTopics(c *client.Client) completer {
	return complete(func(ctx context.Context) (names []string, err error) {
		conn, err := c.Dial()
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		r, err := pb.NewChangelogServiceClient(conn).ListTopics(ctx, &pb.ListTopicsRequest{})
		for _, t := range r.GetTopics() {
			names = append(names, t.GetName())
		}
		return names, err
	})
}

// completeGroups completes the consumer groups.
func completeGroups(c *client.Client) completer {
	return complete(func(ctx context.Context) (names []string, err error) {
		conn, err := c.Dial()
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		r, err := pb.NewChangelogServiceClient(conn).ListGroups(ctx, &pb.ListGroupsRequest{})
		for _, g := range r.GetGroups() {
			names = append(names, g.GetName())
		}
		return names, err
	})
}

// completeFeeds completes the feeds of the daemon, or of the configuration.
func completeFeeds(a *app, h *client.HTTP) completer {
	return complete(func(ctx context.Context) (names []string, err error) {
		if s, err := h.Status(ctx); err == nil {
			for _, f := range s.Feeds {
				names = append(names, f.Name)
			}
			return names, nil
		}
		cfg, err := a.load(nil)
		if err != nil {
			return nil, err
		}
		return cfg.Feeds.Enabled, nil
	})
}
