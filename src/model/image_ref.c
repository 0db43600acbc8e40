/* SPDX-License-Identifier: Apache-2.0 */
#include "model/image_ref.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/parse.h"
#include "base/str.h"
#include "codec/sha256.h"

#define TAG_MAX	  128u
#define TAG	  "latest"
#define ALGORITHM "sha256:"

void image_ref_done(struct image_ref *r)
{
	free(r->host);
	free(r->path);
	free(r->tag);
	*r = (struct image_ref){ 0 };
}

static bool is_lower(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_word(char c)
{
	return is_lower(c) || (c >= 'A' && c <= 'Z') || c == '_';
}

/* A name of DNS: letters, digits and inner dashes between dots. */
static bool is_domain(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool edge = i == 0 || i + 1 == len || s[i - 1] == '.' || s[i + 1] == '.';
		if (!is_lower((char)tolower((unsigned char)s[i])) &&
		    (edge || (s[i] != '-' && s[i] != '.')))
			return false;
	}
	return len > 0;
}

static bool is_host(const char *s)
{
	struct in6_addr address;
	char inner[INET6_ADDRSTRLEN];
	uint64_t port;

	size_t len = s[0] == '[' ? strcspn(s, "]") : strcspn(s, ":");
	const char *after = s + len;
	if (s[0] == '[') {
		if (*after++ != ']' || len - 1 >= sizeof(inner))
			return false;
		memcpy(inner, s + 1, len - 1);
		inner[len - 1] = '\0';
		if (inet_pton(AF_INET6, inner, &address) != 1)
			return false;
	} else if (!is_domain(s, len)) {
		return false;
	}
	return !*after || (*after == ':' && parse_u64(after + 1, 1, 65535, &port) == 0);
}

/* One part of a path: lower-case words between ".", "_", "__" or dashes. */
static bool is_path_part(const char *s, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t n = 0;
		while (i + n < len && strchr("._-", s[i + n]))
			n++;
		bool dashes = strspn(s + i, "-") >= n;
		bool one = n == 1, two = n == 2 && s[i] == '_' && s[i + 1] == '_';
		if (n && (i == 0 || i + n == len || !(dashes || one || two)))
			return false;
		i += n;
		if (!is_lower(s[i]))
			return false;
		i++;
	}
	return len > 0;
}

static bool is_path(const char *s)
{
	size_t len;

	if (strlen(s) > IMAGE_REF_PATH_MAX)
		return false;
	for (; len = strcspn(s, "/"), is_path_part(s, len); s += len + 1) {
		if (!s[len])
			return true;
	}
	return false;
}

bool image_ref_is_tag(const char *s)
{
	size_t len = strlen(s);

	for (size_t i = 0; i < len; i++) {
		if (!is_word(s[i]) && (i == 0 || (s[i] != '.' && s[i] != '-')))
			return false;
	}
	return len > 0 && len <= TAG_MAX;
}

const char *image_ref_bare(const char *text)
{
	return str_starts(text, IMAGE_REF_SCHEME) ? text + strlen(IMAGE_REF_SCHEME) : text;
}

/* Does the reference begin with a host?  As docker decides it. */
static bool has_host(const char *first, size_t len)
{
	if (len == strlen("localhost") && memcmp(first, "localhost", len) == 0)
		return true;
	for (size_t i = 0; i < len; i++) {
		if (first[i] == '.' || first[i] == ':' || (first[i] >= 'A' && first[i] <= 'Z'))
			return true;
	}
	return false;
}

static int refuse(const char *text, const char *what, struct mvm_error *err)
{
	int r = mvm_error_set(err, -EINVAL, "'%.200s' names nothing in a registry: %s", text, what);
	return mvm_error_hint(err, r,
			      "write docker://[HOST[:PORT]/]NAME[:TAG], as in docker://debian:12");
}

/* Cut "@sha256:..." off. */
static int take_digest(const char *text, char *rest, struct image_ref *ret, struct mvm_error *err)
{
	char *at = strchr(rest, '@');

	if (!at)
		return 0;
	*at++ = '\0';
	const char *colon = strchr(at, ':');
	if (colon && !str_starts(at, ALGORITHM))
		return mvm_error_set(err, -EOPNOTSUPP,
				     "'%.200s': mvm knows only digests by SHA-256", text);
	if (!colon || digest_parse(colon + 1, &ret->digest) < 0)
		return refuse(text, "'@' must precede 'sha256:' and 64 digits", err);
	ret->has_digest = true;
	return 0;
}

/* Split "[HOST/]PATH" and apply docker's rules for short names. */
static int take_name(const char *text, char *rest, struct image_ref *ret, struct mvm_error *err)
{
	bool failed = false;
	size_t len = strcspn(rest, "/");
	bool hosted = rest[len] && has_host(rest, len);
	char *path = rest;

	if (hosted) {
		rest[len] = '\0';
		for (char *c = rest; *c; c++)
			*c = (char)tolower((unsigned char)*c);
		path = rest + len + 1;
	}
	if (strstr(text, "://"))
		return refuse(text, "a name begins with no scheme such as 'https://'", err);
	if (hosted && !is_host(rest))
		return refuse(text, "its host is no name or address", err);
	if (!is_path(path))
		return refuse(text,
			      "names are lower-case letters and digits, with single '.', '_' or "
			      "'-' between them, and at most 255 bytes",
			      err);
	bool hub = !hosted || str_eq(rest, IMAGE_REF_HUB) || str_eq(rest, "index." IMAGE_REF_HUB);
	ret->host = str_dup(hub ? IMAGE_REF_HUB : rest, &failed);
	ret->path = str_printf("%s%s", hub && !strchr(path, '/') ? "library/" : "", path);
	return failed || !ret->path ? mvm_error_oom(err) : 0;
}

int image_ref_parse(const char *text, struct image_ref *ret, struct mvm_error *err)
{
	AUTO_DONE(image_ref) ref = { 0 };
	bool failed = false;

	if (strnlen(text, IMAGE_REF_MAX + 1) > IMAGE_REF_MAX)
		return refuse(text, "it is too long", err);
	AUTO_FREE char *rest = strdup(text);
	if (!rest)
		return mvm_error_oom(err);
	int r = take_digest(text, rest, &ref, err);
	if (r < 0)
		return r;
	char *slash = strrchr(rest, '/'), *colon = strchr(slash ? slash : rest, ':');
	const char *tag = TAG;
	if (colon) {
		*colon = '\0';
		tag = colon + 1;
	}
	if (!image_ref_is_tag(tag))
		return refuse(text, "its tag is not valid", err);
	ref.tag = str_dup(tag, &failed);
	if (failed)
		return mvm_error_oom(err);
	r = take_name(text, rest, &ref, err);
	if (r < 0)
		return r;
	*ret = ref;
	ref = (struct image_ref){ 0 };
	return 0;
}

bool image_ref_is_loopback(const char *host)
{
	struct in_addr address;
	char name[64];

	size_t len = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
	if (len >= sizeof(name))
		return false;
	memcpy(name, host, len);
	name[len] = '\0';
	return str_eq(name, "localhost") || str_eq(name, "[::1]") ||
	       (inet_pton(AF_INET, name, &address) == 1 && ntohl(address.s_addr) >> 24 == 127);
}
