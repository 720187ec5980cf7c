// Evaluates expressions with the Go library expr, which is the reference for crates/tracer-expr.
//
// It reads one JSON string, an expression, from each line of stdin. It writes one JSON value for each:
// {"c": "reason"} if the expression does not compile, {"r": "reason"} if the evaluation fails,
// {"x": "varies"} if the value is not always the same, otherwise {"v": "value"} with the value in the notation of encode.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr"
)

var environment = map[string]any{
	"env": map[string]string{
		"HOME": "/home/ci", "CI": "true", "JOBS": "8", "EMPTY": "", "BRANCH": "feature/é-日本", "VERSION": "v1.2.3",
		"LIST": "a,b,,c", "SPACES": "  padded\t", "FLOAT": "2.5", "JSON": `{"a":[1,2.5,"x",null,true],"b":{"c":"d"}}`,
		"DATE": "2024-02-29T12:30:45+02:00", "in": "keyword", "with-dash": "dash",
	},
	"args":    []string{"cc", "-O2", "-c", "x.c", "-o", "x.o", "-O1", "ünï.c"},
	"cmdline": "cc -O2 -c x.c -o x.o -O1 ünï.c",
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for {
		var expression string
		if decoder.Decode(&expression) != nil {
			return
		}
		answer := evaluate(expression)
		if value, ok := answer["v"]; ok && varies(expression, value) {
			answer = map[string]string{"x": "varies"}
		}
		if err := encoder.Encode(answer); err != nil {
			panic(err)
		}
	}
}

func evaluate(expression string) map[string]string {
	program, err := expr.Compile(expression, expr.Env(environment))
	if err != nil {
		return map[string]string{"c": firstLine(err)}
	}
	value, err := expr.Run(program, environment)
	if err != nil {
		return map[string]string{"r": firstLine(err)}
	}
	return map[string]string{"v": encode(value)}
}

// varies says whether an expression can give another value each time. Go's maps have no order, and the clock changes.
func varies(expression, value string) bool {
	for _, name := range []string{"keys", "values", "toPairs", "$env", "now", "timezone", "Location"} {
		if strings.Contains(expression, name) {
			for i := 0; i < 200; i++ {
				if evaluate(expression)["v"] != value {
					return true
				}
			}
			return false
		}
	}
	return false
}

func quote(text string) string {
	text = strings.ReplaceAll(string([]rune(text)), `\`, `\\`)
	return `"` + strings.ReplaceAll(text, `"`, `\"`) + `"`
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// encode writes a value with its type, so that 1, 1.0 and "1" differ. Bytes that are not UTF-8 become U+FFFD.
func encode(value any) string {
	switch v := value.(type) {
	case nil:
		return "nil"
	case bool:
		return strconv.FormatBool(v)
	case string:
		return quote(v)
	case float64:
		if math.IsNaN(v) {
			return "fNaN"
		}
		return "f" + strconv.FormatUint(math.Float64bits(v), 16)
	case uint8:
		return "u" + strconv.Itoa(int(v))
	case time.Time:
		return "t" + strconv.FormatInt(v.Unix(), 10) + "." + strconv.Itoa(v.Nanosecond()) + "@" + v.Location().String()
	case time.Duration:
		return "d" + strconv.FormatInt(int64(v), 10)
	case time.Month:
		return "m" + strconv.Itoa(int(v))
	case time.Weekday:
		return "w" + strconv.Itoa(int(v))
	case *time.Location:
		return "z" + v.String()
	case time.Location:
		return "z" + v.String()
	}
	v := reflect.ValueOf(value)
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && v.IsNil() {
			return "nil[]"
		}
		items := make([]string, v.Len())
		for i := range items {
			items[i] = encode(v.Index(i).Interface())
		}
		return "[" + strings.Join(items, " ") + "]"
	case reflect.Map:
		entries := make([]string, 0, v.Len())
		for _, key := range v.MapKeys() {
			entries = append(entries, encode(key.Interface())+":"+encode(v.MapIndex(key).Interface()))
		}
		sort.Strings(entries)
		return "{" + strings.Join(entries, " ") + "}"
	}
	return fmt.Sprintf("?%s", v.Kind())
}
