/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/name_servers.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/own.h"
#include "base/parse.h"

#define RESOLV_CONF	"/etc/resolv.conf"
#define RESOLV_CONF_MAX 65536u
#define LOCAL		"127.0.0.1"

/* The number of the interface after an address's '%'; 0: there is none. */
static unsigned scope_of(const char *text)
{
	uint64_t number = 0;
	if (parse_u64(text, 1, INT32_MAX, &number) == 0)
		return (unsigned)number;
	return if_nametoindex(text);
}

/* Add word's address, in its usual form.  Returns false if word is no address. */
static bool add(struct strv *ret, const char *word)
{
	char text[INET6_ADDRSTRLEN];
	struct in_addr v4;
	struct in6_addr v6;
	const char *scope = strchr(word, '%');
	size_t len = scope ? (size_t)(scope - word) : strlen(word);
	if (!scope && inet_aton(word, &v4)) { /* 127.1, too */
		strv_add(ret, inet_ntop(AF_INET, &v4, text, sizeof(text)));
		return true;
	}
	snprintf(text, sizeof(text), "%.*s", (int)len, word);
	if (len >= sizeof(text) || inet_pton(AF_INET6, text, &v6) != 1)
		return false;
	if (!scope) {
		strv_add(ret, text);
		return true;
	}
	unsigned number = scope_of(scope + 1);
	if (number)
		strv_addf(ret, "%s%%%u", text, number);
	return number != 0;
}

void name_servers_read(const char *resolv_conf, struct strv *ret, struct strv *ret_odd)
{
	static const char keyword[] = "nameserver";
	for (const char *line = resolv_conf; *line;
	     line += strcspn(line, "\n"), line += *line == '\n') {
		char word[128];
		const char *p = line + sizeof(keyword) - 1;
		if (!str_starts(line, keyword) || (*p != ' ' && *p != '\t'))
			continue;
		p += strspn(p, " \t");
		snprintf(word, sizeof(word), "%.*s", (int)strcspn(p, " \t\r\n"), p);
		if (ret->n < NAME_SERVERS_MAX && !add(ret, word) && ret_odd)
			strv_add(ret_odd, word);
	}
}

char *name_servers_text(void)
{
	char *text = NULL;
	AUTO_CLOSE int fd = open(RESOLV_CONF, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || file_read_fd(fd, RESOLV_CONF_MAX, &text, NULL) < 0)
		return strdup("");
	return text;
}

void name_servers_of_host(struct strv *ret)
{
	AUTO_FREE char *text = name_servers_text();
	if (text)
		name_servers_read(text, ret, NULL);
	if (ret->n == 0)
		strv_add(ret, LOCAL);
}

bool name_servers_none(const char *resolv_conf)
{
	AUTO_DONE(strv) servers = { 0 };
	name_servers_read(resolv_conf, &servers, NULL);
	return servers.n == 0;
}

char *name_servers_problem(const char *resolv_conf)
{
	AUTO_DONE(strv) servers = { 0 }, odd = { 0 };
	AUTO_DONE(strbuf) b = { 0 };
	name_servers_read(resolv_conf, &servers, &odd);
	for (size_t i = 0; i < odd.n; i++)
		strbuf_addf(&b, "%s'%s'", i ? ", " : "", odd.v[i]);
	if (odd.n > 0)
		strbuf_addf(&b, " in " RESOLV_CONF " is no address of a name server");
	if (servers.n == 0)
		strbuf_addf(&b,
			    "%s" RESOLV_CONF
			    " names no server that guests can ask: mvm asks " LOCAL,
			    odd.n ? "; " : "");
	return b.len ? strbuf_take(&b) : NULL;
}
