// Package kafkatest reads a running daemon with clients of Kafka that people use, in
// Go and in JavaScript. It is a module of its own, so that nothing of them reaches the program.
package kafkatest
