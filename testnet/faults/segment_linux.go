package faults

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// segmentBytes returns the size at which oob asks the kernel to cut a write into
// packets (UDP_SEGMENT, udp(7)), or 0 if it does not ask. QUIC puts it behind the
// packet's source address and before its congestion mark.
func segmentBytes(oob []byte) int {
	size := 0
	eachControl(oob, func(level, kind int32, body, _ []byte) {
		if level == unix.IPPROTO_UDP && kind == unix.UDP_SEGMENT && len(body) >= 2 {
			size = int(binary.NativeEndian.Uint16(body))
		}
	})
	return size
}

// withoutSegmentBytes returns a copy of oob that does not ask for segments.
func withoutSegmentBytes(oob []byte) (out []byte) {
	eachControl(oob, func(level, kind int32, _, whole []byte) {
		if level != unix.IPPROTO_UDP || kind != unix.UDP_SEGMENT {
			out = append(out, whole...)
		}
	})
	return out
}

// eachControl calls f with every control message in oob: its body, and the whole
// with header and padding. What is malformed ends the walk.
func eachControl(oob []byte, f func(level, kind int32, body, whole []byte)) {
	for len(oob) >= unix.SizeofCmsghdr {
		header, body, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return
		}
		f(header.Level, header.Type, body, oob[:len(oob)-len(rest)])
		oob = rest
	}
}
