package dag

// TrustedBlock turns the bytes of a block back into one that this validator
// verified before and read from its own disk under the digest it had. Only the
// form is judged; checkPayload is as in Rules and may be nil. Nothing that came
// from outside may go through here: a forged block would be believed.
func TrustedBlock(raw []byte, checkPayload func(ops [][]byte) (checked any, err error)) (*Block, error) {
	b, err := decodeBlock(raw)
	if err != nil {
		return nil, err
	}
	if checkPayload != nil && len(b.payload) > 0 {
		if b.checked, err = checkPayload(b.payload); err != nil {
			return nil, err
		}
	}
	return b, nil
}
