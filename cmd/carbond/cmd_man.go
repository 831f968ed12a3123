package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/config"
)

func (a *app) cmdMan() *cobra.Command {
	return &cobra.Command{
		Use:   "man [DIRECTORY]",
		Short: "Print the manual page, or write all of them into a directory",
		Long: "Prints carbond.8. With a DIRECTORY it writes carbond.8, one page for each command and\n" +
			"carbond.yaml.5 there, from the same tables as --help and check-config.",
		Example: "  carbond man | man -l -\n  carbond man ./man && man ./man/carbond.yaml.5",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("unexpected argument %q", args[1])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				cmd.Root().InitDefaultHelpFlag()
				_, err := io.WriteString(a.out, manPage(cmd.Root()))
				return err
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			n, err := writeMan(cmd.Root(), args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "wrote %d pages to %s\n", n, args[0])
			return err
		},
	}
}

// oneArg wants exactly one argument and names it.
func oneArg(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usageError{fmt.Errorf("%s is missing", name)}
		case len(args) > 1:
			return usageError{fmt.Errorf("unexpected argument %q", args[1])}
		}
		return nil
	}
}

func writeMan(root *cobra.Command, dir string) (int, error) {
	n := 0
	write := func(name, text string) error {
		n++
		return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
	}
	var walk func(c *cobra.Command) error
	walk = func(c *cobra.Command) error {
		c.InitDefaultHelpFlag()
		if err := write(manName(c)+".8", manPage(c)); err != nil {
			return err
		}
		for _, sub := range c.Commands() {
			if err := walk(sub); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(root); err != nil {
		return n, err
	}
	return n, write("carbond.yaml.5", manConfig(config.Default().Keys()))
}
