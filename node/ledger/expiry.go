package ledger

// The expiry queue is a binary heap of the orders that expire, by
// (expire_at, order id). Each order knows its position, so that a cancelled one
// leaves at once and the queue is never longer than the orders open.

func (l *Ledger) expiresBefore(a, b uint32) bool {
	x, y := &l.extras.records[a], &l.extras.records[b]
	if x.expireAtMs != y.expireAtMs {
		return x.expireAtMs < y.expireAtMs
	}
	return l.orders.records[x.order].id < l.orders.records[y.order].id
}

func (l *Ledger) expiryPush(extra uint32) {
	l.expiries = append(l.expiries, extra)
	l.expiryUp(len(l.expiries) - 1)
}

func (l *Ledger) expiryRemove(extra uint32) {
	at := int(l.extras.records[extra].queued)
	last := len(l.expiries) - 1
	moved := l.expiries[last]
	l.expiries = l.expiries[:last]
	if at == last {
		return
	}
	l.expirySet(at, moved)
	l.expiryDown(at)
	l.expiryUp(int(l.extras.records[moved].queued))
}

func (l *Ledger) expirySet(at int, extra uint32) {
	l.expiries[at] = extra
	l.extras.records[extra].queued = int32(at)
}

func (l *Ledger) expiryUp(at int) {
	moving := l.expiries[at]
	for at > 0 {
		parent := (at - 1) / 2
		if !l.expiresBefore(moving, l.expiries[parent]) {
			break
		}
		l.expirySet(at, l.expiries[parent])
		at = parent
	}
	l.expirySet(at, moving)
}

func (l *Ledger) expiryDown(at int) {
	moving := l.expiries[at]
	for {
		child := 2*at + 1
		if child >= len(l.expiries) {
			break
		}
		if child+1 < len(l.expiries) && l.expiresBefore(l.expiries[child+1], l.expiries[child]) {
			child++
		}
		if !l.expiresBefore(l.expiries[child], moving) {
			break
		}
		l.expirySet(at, l.expiries[child])
		at = child
	}
	l.expirySet(at, moving)
}

// expire takes out the orders whose time has passed, in (expire_at, order id)
// order.
func (l *Ledger) expire() {
	for len(l.expiries) > 0 {
		x := &l.extras.records[l.expiries[0]]
		if x.expireAtMs > l.timeMs {
			return
		}
		l.remove(x.order, EventExpired, StateExpired)
	}
}
