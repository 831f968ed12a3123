package main

import (
	"fmt"
	"strings"

	"carbond/cmd/carbond/internal/client"

	"github.com/spf13/cobra"
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
