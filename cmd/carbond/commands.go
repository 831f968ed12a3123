package main

import "github.com/spf13/cobra"

// commands lists the command tree in the order of the help.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.cmdServe(),
		a.cmdDemo(),
		a.cmdCheckConfig(),
		a.cmdDoctor(),
		a.cmdMigrate(),
		a.cmdTeardown(),
		a.cmdTopics(),
		a.cmdConsume(),
		a.cmdGroups(),
		a.cmdView(),
		a.cmdFeeds(),
		a.cmdVerify(),
		a.cmdFsck(),
		a.cmdBackup(),
		a.cmdRestore(),
		a.cmdBench(),
		a.cmdHealthcheck(),
		a.cmdVersion(),
		a.cmdCompletion(),
		a.cmdMan(),
	}
}
