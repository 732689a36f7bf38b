package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/holdfast-mesh/holdfast/node/api"
	"github.com/holdfast-mesh/holdfast/node/ledger"
	"github.com/holdfast-mesh/holdfast/storage"
)

// candles keeps the running candle of every market and interval, and writes it
// with the commits that change it. Only the loop adds; reading is from the disk.
type candles struct {
	store   *storage.Store
	running map[candleSlot]*api.Bar
}

type candleSlot struct {
	market   ledger.MarketID
	interval uint8 // position in api.Intervals
}

func newCandles(store *storage.Store) *candles {
	return &candles{store: store, running: make(map[candleSlot]*api.Bar)}
}

// record adds the trades of commits.
func (c *candles) record(batch *storage.Batch, all []*happened) error {
	changed := make(map[candleSlot]bool)
	for _, h := range all {
		for i := range h.events {
			if h.events[i].Kind != ledger.EventTrade {
				continue
			}
			for interval := range api.Intervals {
				slot := candleSlot{h.events[i].Market, uint8(interval)}
				if err := c.trade(batch, slot, h.timeMs, &h.events[i]); err != nil {
					return err
				}
				changed[slot] = true
			}
		}
	}
	for slot := range changed { // order: a batch's keys are all different
		bar := c.running[slot]
		batch.Set(candleKey(slot, bar.StartMs), appendBar(nil, bar))
	}
	return nil
}

// trade adds a trade to the running candle, after writing that of the interval
// before if this one begins another.
func (c *candles) trade(batch *storage.Batch, slot candleSlot, timeMs int64, e *ledger.Event) error {
	length := api.Intervals[slot.interval].Ms()
	start := timeMs - timeMs%length
	bar := c.running[slot]
	if bar == nil || bar.StartMs != start {
		if bar != nil {
			batch.Set(candleKey(slot, bar.StartMs), appendBar(nil, bar))
		}
		var err error
		if bar, err = c.begin(slot, start, e.Price); err != nil {
			return err
		}
		c.running[slot] = bar
	}
	bar.High, bar.Low, bar.Close = max(bar.High, e.Price), min(bar.Low, e.Price), e.Price
	bar.Lots = addOrMost(bar.Lots, ledger.Units(uint64(e.Quantity)))
	bar.Worth = addOrMost(bar.Worth, e.Amount)
	bar.Trades++
	return nil
}

// begin returns the candle that was begun before a restart, or a new one.
func (c *candles) begin(slot candleSlot, start int64, price ledger.Ticks) (*api.Bar, error) {
	raw, err := c.store.Get(candleKey(slot, start))
	if errors.Is(err, storage.ErrNotFound) {
		return &api.Bar{StartMs: start, Open: price, High: price, Low: price, Close: price}, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeBar(start, raw)
}

// read returns the candles from a time on, oldest first.
func (c *candles) read(ctx context.Context, market ledger.MarketID, interval api.Interval, fromMs int64, most int) ([]api.Bar, error) {
	slot := candleSlot{market: market}
	for i, known := range api.Intervals {
		if known == interval {
			slot.interval = uint8(i)
		}
	}
	keys := storage.Prefix(candlePrefix(slot))
	keys.From = candleKey(slot, max(fromMs, 0))
	var bars []api.Bar
	for entry, err := range c.store.Scan(keys) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		if len(bars) == most {
			break
		}
		bar, err := decodeBar(int64(binary.BigEndian.Uint64(entry.Key[len(entry.Key)-8:])), entry.Value)
		if err != nil {
			return nil, err
		}
		bars = append(bars, *bar)
	}
	return bars, nil
}

// addOrMost adds, and stays at the most there is: a sum for a chart stops no node.
func addOrMost(a, b ledger.Amount) ledger.Amount {
	if sum, ok := a.Add(b); ok {
		return sum
	}
	return ledger.MaxAmount
}

func candlePrefix(slot candleSlot) []byte {
	return append(binary.BigEndian.AppendUint16([]byte(prefixCandle), uint16(slot.market)), slot.interval)
}

func candleKey(slot candleSlot, start int64) []byte {
	return binary.BigEndian.AppendUint64(candlePrefix(slot), uint64(start))
}

func appendBar(b []byte, bar *api.Bar) []byte {
	for _, v := range [...]uint64{uint64(bar.Open), uint64(bar.High), uint64(bar.Low), uint64(bar.Close), bar.Trades} {
		b = binary.AppendUvarint(b, v)
	}
	return appendAmount(appendAmount(b, bar.Lots), bar.Worth)
}

func decodeBar(start int64, raw []byte) (*api.Bar, error) {
	r := eventReader{b: raw}
	bar := &api.Bar{StartMs: start}
	for _, to := range [...]*ledger.Ticks{&bar.Open, &bar.High, &bar.Low, &bar.Close} {
		*to = ledger.Ticks(r.uint())
	}
	bar.Trades = r.uint()
	bar.Lots, bar.Worth = r.amount(), r.amount()
	if r.bad || len(r.b) > 0 {
		return nil, fmt.Errorf("%w: the candle of %d", errEventLog, start)
	}
	return bar, nil
}
