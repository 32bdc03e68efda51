package symbol

// cfiProgram runs the instructions of a record up to an address.
type cfiProgram struct {
	cie     cie
	pc, loc uint64
	now     frameRules
	initial frameRules // after the common part
	saved   []frameRules
}

// run gives false where it does not understand an instruction.
func (p *cfiProgram) run(r *cfiReader) bool {
	for len(r.b) > 0 {
		op := r.u8()
		if advance, ok := p.advance(op, r); ok {
			if r.bad {
				return false
			}
			if p.loc += advance; p.loc > p.pc {
				return true
			}
			continue
		}
		if !p.cfa(op, r) && !p.register(op, r) && !p.state(op, r) || r.bad {
			return false
		}
	}
	return !r.bad
}

// advance reads the instructions that move on in the code.
func (p *cfiProgram) advance(op byte, r *cfiReader) (uint64, bool) {
	switch {
	case op&0xc0 == 0x40:
		return uint64(op&0x3f) * p.cie.codeAlign, true
	case op == 0x01: // set_loc
		return r.pointer(p.cie.encoding) - p.loc, true
	case op == 0x02:
		return r.fixed(1) * p.cie.codeAlign, true
	case op == 0x03:
		return r.fixed(2) * p.cie.codeAlign, true
	case op == 0x04:
		return r.fixed(4) * p.cie.codeAlign, true
	}
	return 0, false
}

// cfa reads the instructions that define the frame's address.
func (p *cfiProgram) cfa(op byte, r *cfiReader) bool {
	f := &p.now
	switch op {
	case 0x0c: // def_cfa
		f.cfaReg, f.cfaOffset, f.cfaKnown = r.uleb(), int64(r.uleb()), true
	case 0x12: // def_cfa_sf
		f.cfaReg, f.cfaOffset, f.cfaKnown = r.uleb(), r.sleb()*p.cie.dataAlign, true
	case 0x0d: // def_cfa_register
		f.cfaReg = r.uleb()
	case 0x0e: // def_cfa_offset
		f.cfaOffset = int64(r.uleb())
	case 0x13: // def_cfa_offset_sf
		f.cfaOffset = r.sleb() * p.cie.dataAlign
	case 0x0f: // def_cfa_expression: found in PLTs and signal returns only
		r.skip(r.uleb())
		f.cfaKnown = false
	default:
		return false
	}
	return true
}

// register reads the instructions that say where a register was saved.
func (p *cfiProgram) register(op byte, r *cfiReader) bool {
	set := func(reg uint64, to rule) {
		if reg < maxRules { // others are vector registers
			p.now.regs[reg] = to
		}
	}
	reset := func(reg uint64) {
		if reg < maxRules {
			p.now.regs[reg] = p.initial.regs[reg]
		}
	}
	switch {
	case op&0xc0 == 0x80:
		set(uint64(op&0x3f), rule{ruleOffset, int64(r.uleb()) * p.cie.dataAlign})
	case op&0xc0 == 0xc0:
		reset(uint64(op & 0x3f))
	case op == 0x05: // offset_extended
		set(r.uleb(), rule{ruleOffset, int64(r.uleb()) * p.cie.dataAlign})
	case op == 0x11: // offset_extended_sf
		set(r.uleb(), rule{ruleOffset, r.sleb() * p.cie.dataAlign})
	case op == 0x06: // restore_extended
		reset(r.uleb())
	case op == 0x07: // undefined
		set(r.uleb(), rule{kind: ruleUndefined})
	case op == 0x08: // same_value
		set(r.uleb(), rule{})
	case op == 0x09: // register
		set(r.uleb(), rule{ruleRegister, int64(r.uleb())})
	case op == 0x14: // val_offset
		set(r.uleb(), rule{ruleValOffset, int64(r.uleb()) * p.cie.dataAlign})
	case op == 0x15: // val_offset_sf
		set(r.uleb(), rule{ruleValOffset, r.sleb() * p.cie.dataAlign})
	case op == 0x10, op == 0x16: // expression, val_expression
		set(r.uleb(), rule{kind: ruleUnknown})
		r.skip(r.uleb())
	default:
		return false
	}
	return true
}

// state reads the rest.
func (p *cfiProgram) state(op byte, r *cfiReader) bool {
	const deepest = 64
	switch op {
	case 0x00: // nop
	case 0x0a: // remember_state
		if len(p.saved) >= deepest {
			return false
		}
		p.saved = append(p.saved, p.now)
	case 0x0b: // restore_state
		n := len(p.saved) - 1
		if n < 0 {
			return false
		}
		p.now, p.saved = p.saved[n], p.saved[:n]
	case 0x2d: // AARCH64_negate_ra_state (GNU_window_save elsewhere)
		p.now.signed = !p.now.signed
	case 0x2e: // GNU_args_size
		r.uleb()
	default:
		return false
	}
	return true
}
