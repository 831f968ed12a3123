// Package config reads carbond's configuration: one table of keys drives
// parsing, the environment, the documentation and the reload rules.
//
// Layers, weakest first: the default of the key, a file of the same name in
// $CREDENTIALS_DIRECTORY (secrets only), the YAML file, the environment, flags.
//
// Invariants
//
//  1. An unknown key is an error with its line and the nearest known key; all
//     problems of all layers are reported together.
//  2. An empty environment variable counts as not set, as unit files and
//     compose files leave them. An empty or null YAML value means the default.
//  3. A secret never appears in String, JSON, logs or error texts; Reveal is
//     the only way to it.
//  4. Load has no effect on the outside: it opens files for reading only.
//
// It knows no stage of carbond; package main turns a Config into the Options of
// each stage.
package config
