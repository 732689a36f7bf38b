package node

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

// room is one package of the house.
type room struct {
	path      string   // below the module
	pure      bool     // no I/O, clock, goroutine or chance
	mayImport []string // of ours
}

// fault is one broken rule of the house: where, what, and what to do about it.
type fault struct {
	where, what, remedy string
}

func (f fault) String() string { return f.where + ": " + f.what + ": " + f.remedy }

// impure lists the standard packages a pure room must not import, with all below
// them: each brings I/O, a clock, chance or goroutines.
var impure = []string{
	"context", "crypto/rand", "flag", "log", "math/rand", "net", "os",
	"runtime", "sync", "syscall", "testing", "unsafe",
}

// clocks are the functions of package time that read or wait for the machine's clock.
var clocks = []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}

// orderMark starts a comment that says why a map's order cannot matter.
const orderMark = "// order: "

// inspectMode reads our packages from source; what they import from elsewhere is
// known by its compiled export data alone, which is quick and takes little memory.
const inspectMode = packages.NeedName | packages.NeedFiles | packages.NeedSyntax | packages.NeedImports |
	packages.NeedTypes | packages.NeedTypesInfo | packages.NeedModule

// inspect reads every package of the module in dir and returns what breaks the
// rules of the rooms, sorted by place.
func inspect(dir string, rooms []room) ([]fault, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	loaded, err := packages.Load(&packages.Config{Mode: inspectMode, Dir: dir}, "./...")
	if err != nil {
		return nil, fmt.Errorf("reading the packages of %s: %w", dir, err)
	}
	in := &inspection{dir: dir, rooms: rooms, imports: make(map[string][]string)}
	for _, p := range loaded {
		for _, e := range p.Errors {
			return nil, fmt.Errorf("reading package %s: %w", p.PkgPath, e)
		}
		in.inspectPackage(p)
	}
	in.inspectTable()
	slices.SortFunc(in.faults, func(a, b fault) int { return cmp.Compare(a.String(), b.String()) })
	return in.faults, nil
}

type inspection struct {
	dir     string
	rooms   []room
	imports map[string][]string // own imports by room
	faults  []fault
}

func (in *inspection) report(where, remedy, format string, args ...any) {
	in.faults = append(in.faults, fault{where: where, what: fmt.Sprintf(format, args...), remedy: remedy})
}

func (in *inspection) room(name string) (room, bool) {
	i := slices.IndexFunc(in.rooms, func(r room) bool { return r.path == name })
	if i < 0 {
		return room{}, false
	}
	return in.rooms[i], true
}

func (in *inspection) inspectPackage(p *packages.Package) {
	name := strings.TrimPrefix(strings.TrimPrefix(p.PkgPath, p.Module.Path), "/")
	in.imports[name] = nil
	r, known := in.room(name)
	if !known {
		in.report(name, "add a row that says what it may import, or move the code into a room that exists",
			"a package that is not in the table of node/house_test.go")
	}
	for _, f := range p.Syntax {
		in.inspectImports(p, r, known, name, f)
		if r.pure {
			in.inspectPurity(p, f)
		}
	}
}

func (in *inspection) inspectImports(p *packages.Package, r room, known bool, name string, f *ast.File) {
	for _, spec := range f.Imports {
		imported := strings.Trim(spec.Path.Value, `"`)
		at := in.at(p, spec.Pos())
		if own, ok := strings.CutPrefix(imported, p.Module.Path+"/"); ok {
			in.imports[name] = append(in.imports[name], own)
			if known && !slices.Contains(r.mayImport, own) {
				in.report(at, "declare an interface for what is needed here and let the room above connect the two",
					"%s must not import %s", name, own)
			}
		}
		if r.pure && slices.ContainsFunc(impure, func(bad string) bool {
			return imported == bad || strings.HasPrefix(imported, bad+"/")
		}) {
			in.report(at, "take the result as an argument, or do this in node, which performs the effects",
				"the pure room %s must not import %q", name, imported)
		}
	}
}

// inspectPurity finds what makes a run differ from its replay: goroutines, select,
// the clock, and the order of a map.
func (in *inspection) inspectPurity(p *packages.Package, f *ast.File) {
	excused := excusedLines(p.Fset, f)
	inOrder := make(map[ast.Node]bool) // iterators over a map that are sorted at once
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			in.report(in.at(p, n.Pos()), "return an effect and let node run it", "a go statement in a pure room")
		case *ast.SelectStmt:
			in.report(in.at(p, n.Pos()), "take inputs in the order the caller gives them", "a select statement in a pure room")
		case *ast.BlockStmt:
			markSortedCollections(p.TypesInfo, n.List, inOrder)
		case *ast.CaseClause:
			markSortedCollections(p.TypesInfo, n.Body, inOrder)
		case *ast.CallExpr:
			if isFunc(p.TypesInfo, n.Fun, "slices", "Sorted", "SortedFunc", "SortedStableFunc") && len(n.Args) > 0 {
				inOrder[n.Args[0]] = true
			}
			if isFunc(p.TypesInfo, n.Fun, "maps", "All", "Keys", "Values") && !inOrder[n] && !excused[in.line(p, n)] {
				in.report(in.at(p, n.Pos()), "wrap it in slices.Sorted, or say in a comment \""+orderMark+"...\" why the order cannot matter",
					"an iterator in map order in a pure room")
			}
		case *ast.RangeStmt:
			if _, isMap := p.TypesInfo.TypeOf(n.X).Underlying().(*types.Map); isMap && !inOrder[n] && !excused[in.line(p, n)] {
				in.report(in.at(p, n.Pos()), "range over slices.Sorted(maps.Keys(m)), or say in a comment \""+orderMark+"...\" why the order cannot matter",
					"a range over a map in a pure room")
			}
		case *ast.Ident:
			if fn, ok := p.TypesInfo.Uses[n].(*types.Func); ok && fn.Pkg() != nil && fn.Pkg().Path() == "time" &&
				fn.Signature().Recv() == nil && slices.Contains(clocks, fn.Name()) {
				in.report(in.at(p, n.Pos()), "take the time as an argument", "time.%s in a pure room", fn.Name())
			}
		}
		return true
	})
}

// excusedLines are the lines that carry an order comment or stand just below one.
func excusedLines(fset *token.FileSet, f *ast.File) map[int]bool {
	lines := make(map[int]bool)
	for _, group := range f.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, orderMark) && len(c.Text) > len(orderMark) {
				lines[fset.Position(c.Pos()).Line] = true
				lines[fset.Position(group.End()).Line+1] = true
			}
		}
	}
	return lines
}

// markSortedCollections marks each loop that only collects a map's keys or values
// into a slice which the very next statement sorts.
func markSortedCollections(info *types.Info, list []ast.Stmt, inOrder map[ast.Node]bool) {
	for i := 0; i+1 < len(list); i++ {
		loop, ok := list[i].(*ast.RangeStmt)
		if !ok || len(loop.Body.List) != 1 {
			continue
		}
		assign, ok := loop.Body.List[0].(*ast.AssignStmt)
		if !ok || len(assign.Lhs) != 1 {
			continue
		}
		call, ok := assign.Rhs[0].(*ast.CallExpr)
		if !ok || !isBuiltin(info, call.Fun, "append") {
			continue
		}
		next, ok := list[i+1].(*ast.ExprStmt)
		if !ok {
			continue
		}
		sort, ok := next.X.(*ast.CallExpr)
		if ok && isFunc(info, sort.Fun, "slices", "Sort", "SortFunc", "SortStableFunc") &&
			types.ExprString(sort.Args[0]) == types.ExprString(assign.Lhs[0]) {
			inOrder[loop] = true
		}
	}
}

func isBuiltin(info *types.Info, fun ast.Expr, name string) bool {
	id, ok := fun.(*ast.Ident)
	if !ok {
		return false
	}
	_, ok = info.Uses[id].(*types.Builtin)
	return ok && id.Name == name
}

func isFunc(info *types.Info, fun ast.Expr, pkg string, names ...string) bool {
	sel, ok := ast.Unparen(fun).(*ast.SelectorExpr)
	if !ok {
		return false
	}
	fn, ok := info.Uses[sel.Sel].(*types.Func)
	return ok && fn.Pkg() != nil && fn.Pkg().Path() == pkg && slices.Contains(names, fn.Name())
}

// inspectTable checks the table against the packages found: every row has a
// package, and no chain of own imports is longer than chainMax.
func (in *inspection) inspectTable() {
	for _, r := range in.rooms {
		if _, ok := in.imports[r.path]; !ok {
			in.report(r.path, "remove the row or write the package", "the table names this package, but no such package exists")
		}
		if chain := in.longestChain(r.path); len(chain) > chainMax {
			in.report(r.path, "let a room in the middle take what it needs as an argument",
				"a chain of %d own imports (at most %d): %s", len(chain), chainMax, strings.Join(chain, ", "))
		}
	}
}

func (in *inspection) longestChain(name string) []string {
	var longest []string
	for _, next := range in.imports[name] {
		if chain := in.longestChain(next); len(chain) > len(longest) {
			longest = chain
		}
	}
	return append([]string{name}, longest...)
}

func (in *inspection) line(p *packages.Package, n ast.Node) int { return p.Fset.Position(n.Pos()).Line }

// at names a place as file:line, the file relative to the module.
func (in *inspection) at(p *packages.Package, pos token.Pos) string {
	where := p.Fset.Position(pos)
	rel, err := filepath.Rel(in.dir, where.Filename)
	if err != nil {
		rel = where.Filename
	}
	return position(filepath.ToSlash(rel), where.Line)
}

func position(file string, line int) string { return fmt.Sprintf("%s:%d", path.Clean(file), line) }
