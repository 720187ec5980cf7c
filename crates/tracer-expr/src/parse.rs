//! Parses tokens to a tree, by operator precedence.

use crate::{
    ast::{BinaryOperator, Builtin, Child, Node, NodeKind, UnaryOperator},
    budget,
    builtins::{self, Shape},
    error::{self, Fault},
    lex::{self, Kind, Token},
};

/// Parses a whole source.
///
/// `max_depth` limits the depth of the parser and of the tree.
pub(crate) fn parse(tokens: &[Token], max_depth: u32) -> Result<Node, Fault> {
    let mut parser = Parser { tokens, at: 0, predicates: 0, nodes: 0, nesting: 0, max_depth };
    let node = parser.sequence()?;
    match parser.current().kind {
        Kind::End => Ok(node),
        _ => Err(parser.unexpected()),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    /// How many predicates are open.
    predicates: u32,
    nodes: usize,
    nesting: u32,
    max_depth: u32,
}

type Parsed = Result<Node, Fault>;

impl<'a> Parser<'a> {
    fn current(&self) -> &'a Token {
        &self.tokens[self.at]
    }

    fn advance(&mut self) -> &'a Token {
        let token = self.current();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn unexpected(&self) -> Fault {
        let token = self.current();
        Fault::syntax(token.offset, format!("unexpected {}", token.describe()))
    }

    fn expect_operator(&mut self, text: &str) -> Result<(), Fault> {
        self.expect(Kind::Operator, text)
    }

    fn expect_bracket(&mut self, text: &str) -> Result<(), Fault> {
        self.expect(Kind::Bracket, text)
    }

    fn expect(&mut self, kind: Kind, text: &str) -> Result<(), Fault> {
        if self.current().is(kind, text) {
            self.advance();
            return Ok(());
        }
        let mut fault = self.unexpected();
        fault.message = format!("{}, expected `{text}`", fault.message);
        Err(fault)
    }

    fn identifier(&mut self) -> Result<&'a Token, Fault> {
        match self.current().kind {
            Kind::Identifier => Ok(self.advance()),
            _ => Err(self.unexpected()),
        }
    }

    fn create(&mut self, kind: NodeKind, offset: usize) -> Parsed {
        self.nodes += 1;
        if self.nodes > budget::MAX_NODES {
            return Err(Fault::budget(format!("the expression has more than {} parts", budget::MAX_NODES)).at(offset));
        }
        let node = Node::new(kind, offset);
        if node.depth() > self.max_depth {
            return Err(too_deep(self.max_depth).at(offset));
        }
        if node.size() > budget::MAX_SIZE {
            return Err(Fault::budget("the expression repeats too many of its parts").at(offset));
        }
        Ok(node)
    }

    fn sequence(&mut self) -> Parsed {
        let first = self.expression(0)?;
        let offset = first.offset;
        let mut nodes = vec![first];
        while self.current().is_operator(";") {
            self.advance();
            if self.current().kind == Kind::End {
                break;
            }
            nodes.push(self.expression(0)?);
        }
        match nodes.pop() {
            Some(only) if nodes.is_empty() => Ok(only),
            last => {
                nodes.extend(last);
                self.create(NodeKind::Sequence(nodes), offset)
            }
        }
    }

    fn expression(&mut self, precedence: u32) -> Parsed {
        self.nesting += 1;
        if self.nesting > self.max_depth {
            return Err(too_deep(self.max_depth).at(self.current().offset));
        }
        let node = self.nested_expression(precedence);
        self.nesting -= 1;
        node
    }

    fn nested_expression(&mut self, precedence: u32) -> Parsed {
        if precedence == 0 && self.current().is_operator("let") {
            return self.declaration();
        }
        if precedence == 0 && self.current().is_operator("if") {
            return self.if_else();
        }
        let mut left = self.primary()?;
        let mut after_coalesce = false;
        while self.current().kind == Kind::Operator {
            let start = self.at;
            let negated = self.current().is_operator("not");
            if negated {
                self.advance();
            }
            let token = self.current();
            if !negated && token.text == "|" {
                if precedence > 0 {
                    break;
                }
                self.advance();
                let name = self.identifier()?;
                left = self.call(name, vec![left])?;
                after_coalesce = false;
                continue;
            }
            let operator = BinaryOperator::parse(&token.text).filter(|_| token.kind == Kind::Operator);
            let Some(operator) = operator.filter(|operator| !negated || operator.can_be_negated()) else {
                if negated {
                    return Err(self.unexpected());
                }
                break;
            };
            if operator.precedence() < precedence {
                self.at = start;
                break;
            }
            self.advance();
            if after_coalesce && operator != BinaryOperator::Coalesce {
                return Err(Fault::syntax(
                    token.offset,
                    format!("`??` and `{}` cannot be mixed; put one of them in parentheses", token.text),
                ));
            }
            after_coalesce = operator == BinaryOperator::Coalesce;
            if operator.is_comparison() {
                left = self.comparison(left, operator, token.offset)?;
                continue;
            }
            let next = operator.precedence() + u32::from(!operator.right_associative());
            let right = self.expression(next)?;
            left = self.create(NodeKind::Binary(operator, Box::new(left), Box::new(right)), token.offset)?;
            if negated {
                left = self.create(NodeKind::Unary(UnaryOperator::Not, Box::new(left)), token.offset)?;
            }
        }
        if precedence == 0 { self.ternary(left) } else { Ok(left) }
    }

    /// `a < b < c` is `a < b && b < c`.
    fn comparison(&mut self, left: Node, operator: BinaryOperator, offset: usize) -> Parsed {
        let (mut left, mut operator, mut offset) = (left, operator, offset);
        let mut all: Option<Node> = None;
        loop {
            let right = self.expression(operator.precedence() + 1)?;
            let next = self.current();
            let chained = BinaryOperator::parse(&next.text)
                .filter(|operator| next.kind == Kind::Operator && operator.is_comparison());
            let kept = chained.map(|_| right.clone());
            let compared = self.create(NodeKind::Binary(operator, Box::new(left), Box::new(right)), offset)?;
            let joined = match all {
                None => compared,
                Some(all) => {
                    let and = NodeKind::Binary(BinaryOperator::And, Box::new(all), Box::new(compared));
                    self.create(and, offset)?
                }
            };
            let (Some(chained), Some(kept)) = (chained, kept) else { return Ok(joined) };
            (all, left, operator, offset) = (Some(joined), kept, chained, next.offset);
            self.advance();
        }
    }

    fn declaration(&mut self) -> Parsed {
        self.expect_operator("let")?;
        let name = self.identifier()?;
        self.expect_operator("=")?;
        let value = Box::new(self.expression(0)?);
        self.expect_operator(";")?;
        let body = Box::new(self.sequence()?);
        self.create(NodeKind::Let { name: name.text.clone(), value, body }, name.offset)
    }

    fn block(&mut self) -> Result<Child, Fault> {
        self.expect_bracket("{")?;
        let block = self.sequence()?;
        self.expect_bracket("}")?;
        Ok(Box::new(block))
    }

    fn if_else(&mut self) -> Parsed {
        self.nesting += 1;
        if self.nesting > self.max_depth {
            return Err(too_deep(self.max_depth).at(self.current().offset));
        }
        let offset = self.advance().offset;
        let condition = Box::new(self.expression(0)?);
        let then = self.block()?;
        self.expect_operator("else")?;
        let otherwise = if self.current().is_operator("if") { Box::new(self.if_else()?) } else { self.block()? };
        self.nesting -= 1;
        // The reference does not count this node.
        self.nodes = self.nodes.saturating_sub(1);
        self.create(NodeKind::Conditional { ternary: false, condition, then, otherwise }, offset)
    }

    fn ternary(&mut self, condition: Node) -> Parsed {
        let mut node = condition;
        while self.current().is_operator("?") {
            self.advance();
            let then = if self.current().is_operator(":") { node.clone() } else { self.expression(0)? };
            self.expect_operator(":")?;
            let otherwise = self.expression(0)?;
            let (condition, then, otherwise) = (Box::new(node), Box::new(then), Box::new(otherwise));
            let offset = self.current().offset;
            node = self.create(NodeKind::Conditional { ternary: true, condition, then, otherwise }, offset)?;
        }
        Ok(node)
    }

    fn primary(&mut self) -> Parsed {
        let token = self.current();
        if token.kind == Kind::Operator
            && let Some(operator) = UnaryOperator::parse(&token.text)
        {
            self.advance();
            let operand = self.expression(operator.precedence())?;
            let node = self.create(NodeKind::Unary(operator, Box::new(operand)), token.offset)?;
            return self.postfix(node);
        }
        if token.is_bracket("(") {
            self.advance();
            let node = self.sequence()?;
            self.expect_bracket(")")?;
            return self.postfix(node);
        }
        if self.predicates > 0 && (token.is_operator("#") || token.is_operator(".")) {
            let mut name = "";
            if token.is_operator("#") {
                self.advance();
                if self.current().kind == Kind::Identifier {
                    name = &self.advance().text;
                }
            }
            let node = self.create(NodeKind::Pointer(name.to_owned()), token.offset)?;
            return self.postfix(node);
        }
        if token.is_operator("::") {
            self.advance();
            let name = self.identifier()?;
            let node = self.call(name, Vec::new())?;
            return self.postfix(node);
        }
        self.secondary()
    }

    fn secondary(&mut self) -> Parsed {
        let token = self.current();
        let node = match token.kind {
            Kind::Identifier => {
                self.advance();
                match token.text.as_str() {
                    "true" => return self.create(NodeKind::Bool(true), token.offset),
                    "false" => return self.create(NodeKind::Bool(false), token.offset),
                    "nil" => return self.create(NodeKind::Nil, token.offset),
                    _ if self.current().is_bracket("(") => self.call(token, Vec::new())?,
                    name => self.create(NodeKind::Identifier(name.to_owned()), token.offset)?,
                }
            }
            Kind::Number => {
                self.advance();
                let number = number(&token.text)
                    .ok_or_else(|| Fault::syntax(token.offset, format!("the number {} is out of range", token.text)))?;
                return self.create(number, token.offset);
            }
            Kind::String => {
                self.advance();
                self.create(NodeKind::String(token.text.as_str().into()), token.offset)?
            }
            Kind::Bytes => {
                self.advance();
                self.create(NodeKind::Bytes(token.bytes.as_slice().into()), token.offset)?
            }
            Kind::Bracket if token.text == "[" => self.array()?,
            Kind::Bracket if token.text == "{" => self.map()?,
            _ => return Err(self.unexpected()),
        };
        self.postfix(node)
    }

    /// A call, whose first argument may come from a pipe.
    fn call(&mut self, name: &Token, piped: Vec<Node>) -> Parsed {
        let kind = match builtins::find(&name.text) {
            Some(builtin) => {
                let arguments = match builtin.shape {
                    Shape::Plain => self.arguments(piped)?,
                    shape => self.predicate_arguments(shape, piped)?,
                };
                NodeKind::Builtin(Builtin::new(builtin.name, arguments))
            }
            None => {
                let callee = Box::new(self.create(NodeKind::Identifier(name.text.clone()), name.offset)?);
                NodeKind::Call { callee, arguments: self.arguments(piped)? }
            }
        };
        self.create(kind, name.offset)
    }

    fn predicate_arguments(&mut self, shape: Shape, piped: Vec<Node>) -> Result<Vec<Node>, Fault> {
        self.expect_bracket("(")?;
        let mut arguments = piped;
        let offset = arguments.len();
        for index in offset..shape.most() {
            if self.current().is_bracket(")") {
                if index >= shape.least() {
                    break;
                }
                let message =
                    format!("{}, expected at least {}", self.unexpected().message, error::arguments(shape.least()));
                return Err(Fault::syntax(self.current().offset, message));
            }
            if index > offset {
                self.expect_operator(",")?;
            }
            arguments.push(if index == 1 { self.predicate()? } else { self.expression(0)? });
        }
        if self.current().is_operator(",") {
            self.advance();
        }
        self.expect_bracket(")")?;
        Ok(arguments)
    }

    fn arguments(&mut self, piped: Vec<Node>) -> Result<Vec<Node>, Fault> {
        self.expect_bracket("(")?;
        self.list(piped, ")")
    }

    /// Expressions between commas, up to and with the closing bracket.
    fn list(&mut self, before: Vec<Node>, close: &str) -> Result<Vec<Node>, Fault> {
        let mut nodes = before;
        let offset = nodes.len();
        while !self.current().is_bracket(close) {
            if nodes.len() > offset {
                self.expect_operator(",")?;
                if self.current().is_bracket(close) {
                    break;
                }
            }
            nodes.push(self.expression(0)?);
        }
        self.expect_bracket(close)?;
        Ok(nodes)
    }

    fn predicate(&mut self) -> Parsed {
        let offset = self.current().offset;
        let braces = self.current().is_bracket("{");
        self.predicates += 1;
        let body = if braces {
            *self.block()?
        } else {
            let body = self.expression(0)?;
            if self.current().is_operator(";") {
                return Err(Fault::syntax(self.current().offset, "put the predicate in braces, { and }"));
            }
            body
        };
        self.predicates -= 1;
        self.create(NodeKind::Predicate(Box::new(body)), offset)
    }

    fn array(&mut self) -> Parsed {
        let offset = self.advance().offset;
        let nodes = self.list(Vec::new(), "]")?;
        self.create(NodeKind::Array(nodes), offset)
    }

    fn map(&mut self) -> Parsed {
        let offset = self.advance().offset;
        let mut pairs = Vec::new();
        while !self.current().is_bracket("}") {
            if !pairs.is_empty() {
                self.expect_operator(",")?;
                if self.current().is_bracket("}") {
                    break;
                }
            }
            let token = self.current();
            let key = match token.kind {
                Kind::Number | Kind::String | Kind::Identifier => {
                    self.advance();
                    self.create(NodeKind::String(token.text.as_str().into()), token.offset)?
                }
                Kind::Bracket if token.text == "(" => self.expression(0)?,
                _ => {
                    let message = format!("{}; a key is a name, a string, a number or (…)", self.unexpected().message);
                    return Err(Fault::syntax(token.offset, message));
                }
            };
            self.expect_operator(":")?;
            let value = self.expression(0)?;
            // A pair counts as a separate part.
            self.nodes += 1;
            pairs.push((key, value));
        }
        self.expect_bracket("}")?;
        self.create(NodeKind::Map(pairs), offset)
    }

    fn postfix(&mut self, node: Node) -> Parsed {
        let mut node = node;
        loop {
            let token = self.current();
            let optional = token.is_operator("?.");
            if optional || token.is_operator(".") {
                self.advance();
                if optional && self.current().is_bracket("[") {
                    node = self.index(node, true)?;
                } else {
                    node = self.field(node, optional)?;
                }
            } else if token.is_bracket("[") {
                node = self.index(node, false)?;
            } else {
                return Ok(node);
            }
        }
    }

    fn field(&mut self, node: Node, optional: bool) -> Parsed {
        let name = self.current();
        let named = match name.kind {
            Kind::Identifier => true,
            Kind::Operator => lex::is_name(&name.text),
            _ => false,
        };
        if !named {
            return Err(Fault::syntax(name.offset, format!("unexpected {}, expected a name", name.describe())));
        }
        self.advance();
        let property = Box::new(self.create(NodeKind::String(name.text.as_str().into()), name.offset)?);
        let (object, chained) = match node.kind {
            NodeKind::Chain(inner) => (inner, true),
            _ => (Box::new(node), false),
        };
        let method = self.current().is_bracket("(");
        let mut member = self.create(NodeKind::Member { object, property, optional, method }, name.offset)?;
        if method {
            let arguments = self.arguments(Vec::new())?;
            member = self.create(NodeKind::Call { callee: Box::new(member), arguments }, name.offset)?;
        }
        if chained || optional {
            member = self.create(NodeKind::Chain(Box::new(member)), name.offset)?;
        }
        Ok(member)
    }

    /// `[index]`, `[from:to]`.
    fn index(&mut self, node: Node, optional: bool) -> Parsed {
        let offset = self.advance().offset;
        let object = Box::new(node);
        let from = if self.current().is_operator(":") { None } else { Some(Box::new(self.expression(0)?)) };
        if self.current().is_operator(":") {
            self.advance();
            let to = if self.current().is_bracket("]") { None } else { Some(Box::new(self.expression(0)?)) };
            self.expect_bracket("]")?;
            return self.create(NodeKind::Slice { object, from, to }, offset);
        }
        let Some(property) = from else { return Err(self.unexpected()) };
        self.expect_bracket("]")?;
        let member = self.create(NodeKind::Member { object, property, optional, method: false }, offset)?;
        if optional { self.create(NodeKind::Chain(Box::new(member)), offset) } else { Ok(member) }
    }
}

fn too_deep(max_depth: u32) -> Fault {
    Fault::budget(format!("the expression nests deeper than {max_depth} levels"))
}

/// A number literal. `None` if it is out of range or malformed.
fn number(text: &str) -> Option<NodeKind> {
    let digits: String = text.chars().filter(|character| *character != '_').collect::<String>().to_ascii_lowercase();
    let integer = |digits: &str, radix| {
        // `from_str_radix` takes a sign, which no literal has.
        i64::from_str_radix(digits, radix).ok().map(NodeKind::Integer)
    };
    if let Some(hexadecimal) = digits.strip_prefix("0x") {
        return integer(hexadecimal, 16);
    }
    if digits.contains(['.', 'e']) {
        let float: f64 = digits.parse().ok()?;
        return float.is_finite().then_some(NodeKind::Float(float));
    }
    if let Some(binary) = digits.strip_prefix("0b") {
        return integer(binary, 2);
    }
    if let Some(octal) = digits.strip_prefix("0o") {
        return integer(octal, 8);
    }
    integer(&digits, 10)
}
