package main

import (
	"fmt"
	"strconv"
	"strings"
)

// askSpec has a person describe a network. An empty answer takes what stands in
// brackets, or ends a list.
func askSpec(q *questions) (*spec, error) {
	s := &spec{Name: q.ask("The network's name", "")}
	fmt.Fprintln(q.out, "\nValidators: at least four, no provider or region with more than a third. End with an empty key.")
	for {
		v, more := askValidator(q, len(s.Validators))
		if !more {
			break
		}
		s.Validators = append(s.Validators, v)
	}
	fmt.Fprintln(q.out, "\nAssets. End with an empty symbol.")
	for {
		symbol := strings.ToUpper(q.ask(fmt.Sprintf("Asset %d, such as BTC", len(s.Assets)), ""))
		if symbol == "" {
			break
		}
		a := specAsset{Symbol: symbol, Decimals: uint8(q.number("  decimals", 8, 255))}
		a.WithdrawalFeeMin = q.ask("  least fee of a withdrawal", "0")
		s.Assets = append(s.Assets, a)
	}
	fmt.Fprintln(q.out, "\nMarkets. End with an empty name.")
	for {
		name := strings.ToUpper(q.ask(fmt.Sprintf("Market %d, such as BTC-USDT", len(s.Markets)), ""))
		if name == "" {
			break
		}
		s.Markets = append(s.Markets, askMarket(q, name))
	}
	s.Custodians = askCouncil(q, "Custodians, who attest deposits and pay out withdrawals")
	s.Governors = askCouncil(q, "Governors, who list markets and change the committee")
	if q.err != nil {
		return nil, fmt.Errorf("the answers ended early: nothing was made: %w", q.err)
	}
	return s, nil
}

func askValidator(q *questions, i int) (v specValidator, more bool) {
	if v.Key = q.ask(fmt.Sprintf("Validator %d: key or peer id", i), ""); v.Key == "" {
		return v, false
	}
	v.Weight = uint64(q.number("  weight", 1, 1<<53))
	v.Provider = q.ask("  provider, such as aws", "")
	v.Region = q.ask("  region, such as frankfurt", "")
	v.Operator = q.ask("  operator (may be empty)", "")
	for addr := range strings.FieldsSeq(q.ask("  addresses, such as /ip4/192.0.2.1/udp/4001/quic-v1", "")) {
		v.Addrs = append(v.Addrs, addr)
	}
	return v, true
}

func askMarket(q *questions, name string) specMarket {
	m := specMarket{Market: name}
	m.Tick = q.ask("  price step", "0.01")
	m.Lot = q.ask("  quantity step", "0.0001")
	m.MinNotional = q.ask("  least worth of an order", "0")
	m.MakerPPM = int32(q.number("  maker's fee in millionths", 0, 1_000_000))
	m.TakerPPM = int32(q.number("  taker's fee in millionths", 1000, 1_000_000))
	return m
}

func askCouncil(q *questions, what string) (c specCouncil) {
	fmt.Fprintf(q.out, "\n%s. End with an empty key.\n", what)
	for {
		key := q.ask(fmt.Sprintf("Member %d", len(c.Members)), "")
		if key == "" {
			break
		}
		c.Members = append(c.Members, key)
	}
	if len(c.Members) > 0 {
		c.Threshold = uint8(q.number("How many of them decide", len(c.Members)/2+1, len(c.Members)))
	}
	return c
}

// number asks until it gets a number from 0 to most.
func (q *questions) number(question string, empty, most int) int {
	for q.err == nil {
		n, err := strconv.Atoi(q.ask(question, strconv.Itoa(empty)))
		if err == nil && n >= 0 && n <= most {
			return n
		}
		if q.err == nil {
			fmt.Fprintf(q.out, "  give a number from 0 to %d\n", most)
		}
	}
	return 0
}
