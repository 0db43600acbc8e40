/* SPDX-License-Identifier: Apache-2.0 */

/* toml++ behind toml.h.  Its assertions guard nothing we rely on and would end the process on the
 * text "[\n", so they are off, and so are the assumptions it derives from them under NDEBUG. */
#undef NDEBUG
#define TOML_ASSERT(expr)      static_cast<void>(0)
#define TOML_EXCEPTIONS	       0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_MAX_NESTED_VALUES 32
#define TOML_HEADER_ONLY       1

#include "codec/toml.h"

extern "C" {
#include "base/error.h"
}

#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <vector>

namespace
{

static_assert(TOML_MAX_NESTED == TOML_MAX_NESTED_VALUES, "the header documents this limit");

char *copy_text(std::string_view s)
{
	char *copy = static_cast<char *>(malloc(s.size() + 1));
	if (!copy)
		throw std::bad_alloc();
	if (!s.empty())
		memcpy(copy, s.data(), s.size());
	copy[s.size()] = '\0';
	return copy;
}

void set_text(toml_value &to, toml_type type, std::string_view s)
{
	to.type = type;
	to.string = copy_text(s);
	to.string_len = s.size();
}

std::string date_text(const toml::date &d)
{
	char text[32];
	(void)snprintf(text, sizeof(text), "%04u-%02u-%02u", unsigned(d.year), unsigned(d.month),
		       unsigned(d.day));
	return text;
}

std::string time_text(const toml::time &t)
{
	char text[48];
	int n = snprintf(text, sizeof(text), "%02u:%02u:%02u", unsigned(t.hour), unsigned(t.minute),
			 unsigned(t.second));
	if (t.nanosecond) {
		n += snprintf(text + n, sizeof(text) - size_t(n), ".%09u", unsigned(t.nanosecond));
		while (text[n - 1] == '0')
			text[--n] = '\0';
	}
	return text;
}

std::string offset_text(const toml::time_offset &o)
{
	char text[16];
	unsigned minutes = unsigned(std::abs(int(o.minutes)));
	if (!minutes)
		return "Z";
	(void)snprintf(text, sizeof(text), "%c%02u:%02u", o.minutes < 0 ? '-' : '+', minutes / 60,
		       minutes % 60);
	return text;
}

void set_date_time(toml_value &to, const toml::date_time &dt)
{
	std::string text = date_text(dt.date) + "T" + time_text(dt.time);
	if (dt.offset)
		set_text(to, TOML_OFFSET_DATE_TIME, text + offset_text(*dt.offset));
	else
		set_text(to, TOML_LOCAL_DATE_TIME, text);
}

void convert(const toml::node &from, toml_value &to);

void make_children(toml_value &to, size_t n)
{
	if (n == 0)
		return;
	to.children = static_cast<toml_value *>(calloc(n, sizeof(*to.children)));
	if (!to.children)
		throw std::bad_alloc();
	to.n_children = n;
}

/* toml++ sorts tables by key; what people see should come in the order they wrote. */
void convert_table(const toml::table &from, toml_value &to)
{
	struct member {
		const toml::key *key;
		const toml::node *node;
	};
	std::vector<member> members;
	for (auto &&[key, node] : from)
		members.push_back({ &key, &node });
	std::stable_sort(members.begin(), members.end(), [](const member &a, const member &b) {
		const auto &x = a.key->source().begin, &y = b.key->source().begin;
		return x.line != y.line ? x.line < y.line : x.column < y.column;
	});

	to.type = TOML_TABLE;
	make_children(to, members.size());
	for (size_t i = 0; i < members.size(); i++) {
		toml_value &child = to.children[i];
		std::string_view key = members[i].key->str();
		convert(*members[i].node, child);
		child.key = copy_text(key);
		child.key_len = key.size();
		if (members[i].key->source().begin.line)
			child.line = members[i].key->source().begin.line;
	}
}

void convert_array(const toml::array &from, toml_value &to)
{
	to.type = TOML_ARRAY;
	make_children(to, from.size());
	for (size_t i = 0; i < from.size(); i++)
		convert(*from.get(i), to.children[i]);
}

void convert(const toml::node &from, toml_value &to)
{
	to.line = from.source().begin.line;
	if (auto *table = from.as_table()) {
		convert_table(*table, to);
	} else if (auto *array = from.as_array()) {
		convert_array(*array, to);
	} else if (auto *s = from.as_string()) {
		set_text(to, TOML_STRING, s->get());
	} else if (auto *i = from.as_integer()) {
		to.type = TOML_INTEGER;
		to.integer = i->get();
	} else if (auto *f = from.as_floating_point()) {
		to.type = TOML_FLOAT;
		to.real = f->get();
	} else if (auto *b = from.as_boolean()) {
		to.type = TOML_BOOLEAN;
		to.boolean = b->get();
	} else if (auto *d = from.as_date()) {
		set_text(to, TOML_LOCAL_DATE, date_text(d->get()));
	} else if (auto *t = from.as_time()) {
		set_text(to, TOML_LOCAL_TIME, time_text(t->get()));
	} else if (auto *dt = from.as_date_time()) {
		set_date_time(to, dt->get());
	}
}

int parse(std::string_view text, const char *name, toml_value &root, mvm_error *err)
{
	toml::parse_result result = toml::parse(text);
	if (!result) {
		const toml::parse_error &e = result.error();
		std::string what(e.description());
		if (!what.empty())
			what[0] = char(std::tolower(static_cast<unsigned char>(what[0])));
		return mvm_error_set(err, -EINVAL, "%s:%u: %s", name,
				     unsigned(e.source().begin.line), what.c_str());
	}
	convert(result.table(), root);
	return 0;
}

} // namespace

int toml_parse(const char *text, size_t len, const char *name, toml_value **ret, mvm_error *err)
{
	unsigned line = 0;
	const char *limit = nullptr;

	if (len > TOML_MAX_BYTES)
		return mvm_error_set(err, -EFBIG, "%s: larger than 10 MB", name);
	if (toml_check_limits(text, len, &line, &limit) < 0)
		return mvm_error_set(err, -EFBIG, "%s:%u: %s", name, line, limit);

	toml_value *root = static_cast<toml_value *>(calloc(1, sizeof(*root)));
	if (!root)
		return mvm_error_set(err, -ENOMEM, "%s: out of memory", name);
	int r;
	try {
		r = parse(std::string_view(text, len), name, *root, err);
	} catch (const std::bad_alloc &) {
		r = mvm_error_set(err, -ENOMEM, "%s: out of memory", name);
	} catch (...) {
		r = mvm_error_set(err, -EINVAL, "%s: cannot be parsed", name);
	}
	if (r < 0) {
		toml_value_free(root);
		return r;
	}
	*ret = root;
	return 0;
}
