//! What an answer says: an expression, a tuple or interval, a set, a matrix, or a relation.
//!
//! | written | read as |
//! |---|---|
//! | `x = 3`, `f(x) = 2x`, `1 + 2 = 3`, `a = b = 3` | what stands on the right |
//! | `x \in A` | `A` |
//! | `1, 2`, `\{1, 2\}`, `A \cup B`, `\pm 2` | a set, in any order |
//! | `(1, 2)`, `[1, 2)` | a tuple with its brackets; an interval is the same |
//! | `3:4` | `3/4` |
//! | `2x + 3y = 6`, `x \ne 2`, `1 < x \le 2` | a relation |

use super::node::{Node, expression};
use super::token::{Bracket, Lexed, Order, Token, Unreadable};

/// Deepest nesting of tuples, sets and signs.
const MOST_DEPTH: usize = 8;

/// Most items of a tuple, set or matrix.
const MOST_ITEMS: usize = 64;

/// One side, an order, and the other side.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Link {
    pub left: Node,
    pub order: Order,
    pub right: Node,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Expression(Node),
    Tuple {
        open: Bracket,
        close: Bracket,
        items: Vec<Value>,
    },
    Set(Vec<Value>),
    Matrix(Vec<Vec<Node>>),
    /// Orders are [`Order::Less`], [`Order::AtMost`], [`Order::Equal`] and [`Order::Unequal`]: greater sides are exchanged.
    Relation(Vec<Link>),
}

/// What the tokens say.
pub(super) fn value(tokens: &[Lexed]) -> Result<Value, Unreadable> {
    read(tokens, 0)
}

fn read(tokens: &[Lexed], depth: usize) -> Result<Value, Unreadable> {
    if depth > MOST_DEPTH {
        return Err(Unreadable::Deep);
    }
    let depth = depth + 1;
    if tokens.iter().any(|lexed| matches!(lexed.token, Token::PlusMinus | Token::MinusPlus)) {
        return both_signs(tokens, depth);
    }
    match (tokens.first().map(|lexed| &lexed.token), tokens.len()) {
        (None, _) => return Err(Unreadable::Syntax),
        (Some(Token::Empty), 1) => return Ok(Value::Set(Vec::new())),
        (Some(Token::Begin), count) if is_enclosed(tokens) && tokens[count - 1].token == Token::End => {
            return matrix(&tokens[1..count - 1]);
        }
        _ => {}
    }
    if let [_, set] = &split(tokens, &Token::In)?[..] {
        return read(set, depth);
    }
    let listed = split(tokens, &Token::Comma)?;
    if listed.len() > 1 {
        return all(&listed, depth).map(Value::Set);
    }
    let parts = split(tokens, &Token::Union)?;
    if parts.len() > 1 {
        return all(&parts, depth).map(Value::Set);
    }
    let (sides, orders) = sides(tokens)?;
    if !orders.is_empty() {
        return relation(&sides, &orders, depth);
    }
    if let Some(inside) = bracketed(tokens, depth)? {
        return Ok(inside);
    }
    if let [upper, lower] = &split(tokens, &Token::Colon)?[..] {
        return Ok(Value::Expression(Node::quotient(expression(upper)?, expression(lower)?)));
    }
    expression(tokens).map(Value::Expression)
}

/// The set of both readings of `\pm`.
fn both_signs(tokens: &[Lexed], depth: usize) -> Result<Value, Unreadable> {
    let with = |plus_minus: Token, minus_plus: Token| {
        let signed = |lexed: &Lexed| Lexed {
            token: match &lexed.token {
                Token::PlusMinus => plus_minus.clone(),
                Token::MinusPlus => minus_plus.clone(),
                other => other.clone(),
            },
            spaced: lexed.spaced,
        };
        let tokens: Vec<Lexed> = tokens.iter().map(signed).collect();
        read(&tokens, depth)
    };
    let mut items = Vec::new();
    for reading in [with(Token::Plus, Token::Minus)?, with(Token::Minus, Token::Plus)?] {
        match reading {
            Value::Set(parts) => items.extend(parts),
            other => items.push(other),
        }
    }
    Ok(Value::Set(items))
}

fn matrix(tokens: &[Lexed]) -> Result<Value, Unreadable> {
    let mut rows = split(tokens, &Token::Row)?;
    // A row may end with the sign that separates rows.
    rows.pop_if(|last| last.is_empty());
    let rows = rows.into_iter().map(row).collect::<Result<Vec<Vec<Node>>, Unreadable>>()?;
    let cells: usize = rows.iter().map(Vec::len).sum();
    if (1..=MOST_ITEMS).contains(&cells) { Ok(Value::Matrix(rows)) } else { Err(Unreadable::Deep) }
}

fn row(tokens: &[Lexed]) -> Result<Vec<Node>, Unreadable> {
    split(tokens, &Token::Cell)?.into_iter().map(expression).collect()
}

/// A tuple or a set, if one pair of brackets encloses all tokens and there is a comma inside, or they are a set's.
fn bracketed(tokens: &[Lexed], depth: usize) -> Result<Option<Value>, Unreadable> {
    let (Some(Token::Open(open)), true) = (tokens.first().map(|lexed| &lexed.token), is_enclosed(tokens)) else {
        return Ok(None);
    };
    let Some(Token::Close(close)) = tokens.last().map(|lexed| &lexed.token) else { return Ok(None) };
    let inside = &tokens[1..tokens.len() - 1];
    let items = || if inside.is_empty() { Ok(Vec::new()) } else { all(&split(inside, &Token::Comma)?, depth) };
    let has_comma = split(inside, &Token::Comma)?.len() > 1;
    let set = |bracket: &Bracket| matches!(bracket, Bracket::Brace | Bracket::Group);
    Ok(match (set(open), set(close)) {
        (true, true) if open != close => return Err(Unreadable::Syntax),
        (true, true) if *open == Bracket::Brace || has_comma || inside.is_empty() => Some(Value::Set(items()?)),
        (true, true) => Some(read(inside, depth)?),
        (false, false) if has_comma => Some(Value::Tuple { open: *open, close: *close, items: items()? }),
        (false, false) => None,
        _ => return Err(Unreadable::Syntax),
    })
}

fn relation(sides: &[&[Lexed]], orders: &[Order], depth: usize) -> Result<Value, Unreadable> {
    let [first, .., last] = sides else { return Err(Unreadable::Syntax) };
    if orders.iter().all(|order| *order == Order::Equal) {
        if orders.len() > 1 || is_name(first) {
            return read(last, depth);
        }
        let (left, right) = (expression(first)?, expression(last)?);
        if left.has_symbol() {
            return Ok(Value::Relation(vec![Link { left, order: Order::Equal, right }]));
        }
        let says_left = matches!(right, Node::Symbol(_));
        return Ok(Value::Expression(if says_left { left } else { right }));
    }
    let nodes = sides.iter().map(|side| expression(side)).collect::<Result<Vec<Node>, Unreadable>>()?;
    let link = |(at, order): (usize, &Order)| {
        let (left, right) = (nodes[at].clone(), nodes[at + 1].clone());
        match order {
            Order::Greater => Link { left: right, order: Order::Less, right: left },
            Order::AtLeast => Link { left: right, order: Order::AtMost, right: left },
            order => Link { left, order: *order, right },
        }
    };
    Ok(Value::Relation(orders.iter().enumerate().map(link).collect()))
}

/// `x`, or `f(x)`: what an equation defines.
fn is_name(tokens: &[Lexed]) -> bool {
    match tokens {
        [name] => matches!(name.token, Token::Symbol(_)),
        [name, arguments @ ..] => {
            matches!(name.token, Token::Symbol(_))
                && arguments[0].token == Token::Open(Bracket::Round)
                && arguments.len() > 2
                && is_enclosed(arguments)
        }
        [] => false,
    }
}

/// Reads every part.
fn all(parts: &[&[Lexed]], depth: usize) -> Result<Vec<Value>, Unreadable> {
    if parts.len() > MOST_ITEMS {
        return Err(Unreadable::Deep);
    }
    parts.iter().map(|part| read(part, depth)).collect()
}

/// How deep brackets are nested behind a token: 1 for one that opens, -1 for one that closes.
fn nesting(token: &Token) -> i32 {
    match token {
        Token::Open(_) | Token::Begin => 1,
        Token::Close(_) | Token::End => -1,
        _ => 0,
    }
}

/// Whether the bracket that begins the tokens closes with the last of them.
fn is_enclosed(tokens: &[Lexed]) -> bool {
    let mut depth = 0;
    for (at, lexed) in tokens.iter().enumerate() {
        depth += nesting(&lexed.token);
        if depth <= 0 {
            return at > 0 && at + 1 == tokens.len();
        }
    }
    false
}

/// Positions outside of all brackets at which `wanted` holds.
fn outside(tokens: &[Lexed], wanted: impl Fn(&Token) -> bool) -> Result<Vec<usize>, Unreadable> {
    let (mut depth, mut found) = (0, Vec::new());
    for (at, lexed) in tokens.iter().enumerate() {
        depth += nesting(&lexed.token);
        if depth < 0 {
            return Err(Unreadable::Syntax);
        }
        if depth == 0 && wanted(&lexed.token) {
            found.push(at);
        }
    }
    if depth == 0 { Ok(found) } else { Err(Unreadable::Syntax) }
}

/// The tokens between these positions.
fn between<'a>(tokens: &'a [Lexed], positions: &[usize]) -> Vec<&'a [Lexed]> {
    let starts = std::iter::once(0).chain(positions.iter().map(|at| at + 1));
    let ends = positions.iter().copied().chain([tokens.len()]);
    starts.zip(ends).map(|(start, end)| &tokens[start..end]).collect()
}

/// The parts between separators that stand outside of all brackets.
fn split<'a>(tokens: &'a [Lexed], separator: &Token) -> Result<Vec<&'a [Lexed]>, Unreadable> {
    Ok(between(tokens, &outside(tokens, |token| token == separator)?))
}

/// The sides of a relation, and the orders between them.
fn sides(tokens: &[Lexed]) -> Result<(Vec<&[Lexed]>, Vec<Order>), Unreadable> {
    let positions = outside(tokens, |token| matches!(token, Token::Order(_)))?;
    let order = |at: &usize| match tokens[*at].token {
        Token::Order(order) => Some(order),
        _ => None,
    };
    let orders = positions.iter().filter_map(order).collect();
    Ok((between(tokens, &positions), orders))
}

#[cfg(test)]
mod tests {
    use super::super::token::lex;
    use super::*;

    fn say(text: &str) -> Result<Value, Unreadable> {
        value(&lex(text)?)
    }

    #[track_caller]
    fn same(one: &str, other: &str) {
        assert_eq!(say(one), say(other), "{one} and {other}");
        assert!(say(one).is_ok(), "{one}");
    }

    #[test]
    fn equations_that_define_say_what_they_define() {
        same("x = 3", "3");
        same("3 = x", "3");
        same("f(x) = 2x", "2x");
        same("24 + 7 = 31", "31");
        same("a = b = 3", "3");
        same("x \\in [1, 2]", "[1,2]");
        assert!(matches!(say("2x+3y=6"), Ok(Value::Relation(links)) if links.len() == 1));
    }

    #[test]
    fn lists_and_sets_and_tuples() {
        same("1, 2", "\\{1, 2\\}");
        same("\\{\\}", "\\emptyset");
        same("\\pm 2", "+2, -2");
        same("1 \\pm 2, 3", "1+2, 3, 1-2, 3");
        same("3:4", "\\frac{3}{4}");
        same("x > 3", "3 < x");
        same("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{bmatrix} 1 & 2 \\\\ 3 & 4 \\\\ \\end{bmatrix}");
        assert!(matches!(say("(1, 2]"), Ok(Value::Tuple { items, .. }) if items.len() == 2));
        assert!(matches!(say("(1)"), Ok(Value::Expression(_))));
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for text in ["", "(1,2", "1,2)", "(1,2\\}", "1,,2", "x <", "= 3", "\\begin{matrix}1\\end{matrix}2"] {
            assert!(say(text).is_err(), "{text}");
        }
        assert_eq!(say(&vec!["1"; 65].join(", ")), Err(Unreadable::Deep));
        assert_eq!(say(&format!("{}{}", "\\{".repeat(20), "\\}".repeat(20))), Err(Unreadable::Deep));
    }
}
