// Package kafkatest reads a running daemon with the Go clients of Kafka that people
// use. It is a module of its own, so that nothing of them reaches the program.
package kafkatest
