package pgoutput_test

import (
	"encoding/binary"

	"carbond/store/change"
)

// msg builds pgoutput messages by hand.
type msg []byte

func start(t byte) msg                   { return msg{t} }
func (m msg) u8(v byte) msg              { return append(m, v) }
func (m msg) u16(v uint16) msg           { return binary.BigEndian.AppendUint16(m, v) }
func (m msg) u32(v uint32) msg           { return binary.BigEndian.AppendUint32(m, v) }
func (m msg) u64(v uint64) msg           { return binary.BigEndian.AppendUint64(m, v) }
func (m msg) text(s string) msg          { return append(append(m, s...), 0) }
func (m msg) col(s string) msg           { return append(m.u8('t').u32(uint32(len(s))), s...) }
func (m msg) null() msg                  { return m.u8('n') }
func (m msg) unchanged() msg             { return m.u8('u') }
func (m msg) tuple(k byte, n uint16) msg { return m.u8(k).u16(n) }

func relationMsg(id uint32, rel *change.Relation) msg {
	m := start('R').u32(id).text(rel.Schema).text(rel.Name).u8('d').u16(uint16(len(rel.Columns)))
	for _, c := range rel.Columns {
		var flags byte
		if c.Key {
			flags = 1
		}
		m = m.u8(flags).text(c.Name).u32(c.Type).u32(0xffffffff)
	}
	return m
}
