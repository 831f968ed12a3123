package watch

import (
	"strconv"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/form"
	"carbond/store/change"
)

// appendTextDelta appends a delta as an element of a JSON array, with a comma behind it.
func appendTextDelta(b []byte, d *change.Delta) []byte {
	b = append(b, `{"diff":`...)
	b = strconv.AppendInt(b, int64(d.Diff), 10)
	b = append(b, `,"item":`...)
	view, row := d.Row()
	b = form.AppendObject(b, view, row)
	return append(b, "},"...)
}

// eventNames are the names of the events.
var eventNames = map[pb.WatchKind]string{
	pb.WatchKind_WATCH_KIND_SNAPSHOT: "snapshot", pb.WatchKind_WATCH_KIND_CHANGES: "changes", pb.WatchKind_WATCH_KIND_PROGRESS: "progress",
}

// event makes an event of a head and encoded deltas. Its id is the token.
func (h *head) event(deltas []byte) []byte {
	b := make([]byte, 0, 256+len(deltas))
	b = append(append(append(b, "event: "...), eventNames[h.kind]...), '\n')
	if h.token != "" {
		b = append(append(append(b, "id: "...), h.token...), '\n')
	}
	b = append(b, `data: {"offset":`...)
	b = strconv.AppendUint(b, uint64(h.head.Offset), 10)
	b = append(append(append(b, `,"lsn":"`...), h.head.LSN.String()...), `","commitTimeMs":`...)
	if h.head.CommitTime.IsZero() {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendInt(b, h.head.CommitTime.UnixMilli(), 10)
	}
	if h.kind != pb.WatchKind_WATCH_KIND_PROGRESS {
		if len(deltas) > 0 {
			deltas = deltas[:len(deltas)-1] // the comma
		}
		b = append(append(append(b, `,"deltas":[`...), deltas...), `],"end":`...)
		b = strconv.AppendBool(b, h.token != "") // nothing of the snapshot or transaction follows
	}
	return append(b, "}\n\n"...)
}
