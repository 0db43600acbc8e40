/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/image_ref.h"
#include "pull/credentials.h"
#include "pull/remote.h"
#include "pull/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A page of tags, and a manifest that is only looked at. */
static void look_at_remote(char kind, const char *text, size_t len)
{
	AUTO_DONE(remote_about) about = { 0 };
	AUTO_DONE(strv) tags = { 0 };
	struct mvm_error err = { 0 };

	if (kind == 't') {
		if (remote_add_tags(text, len, "fuzz", &tags, &err) < 0 && !err.text[0])
			abort();
		for (size_t i = 0; i < tags.n; i++) {
			if (!image_ref_is_tag(tags.v[i]))
				abort();
		}
		return;
	}
	about.text = strndup(text, len);
	about.len = about.text ? len : 0;
	if (about.text && remote_about_read(&about, "fuzz", &err) == 0 && about.has_snapshot &&
	    !about.is_template)
		abort();
}

/* What a credential helper prints. */
static void look_at_answer(const char *text, size_t len)
{
	AUTO_DONE(credentials) credentials = { 0 };

	if (credential_program_parse(text, len, &credentials) > 0 &&
	    (!credentials.user != !credentials.password ||
	     !credentials.user == !credentials.identity))
		abort();
}

/* The first byte is the kind of document that follows: c, s, a, t or m. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(credentials) credentials = { 0 };
	AUTO_DONE(settings) settings = { 0 };
	AUTO_FREE char *program = NULL;
	struct mvm_error err = { 0 };
	bool found;

	if (size == 0)
		return 0;
	const char *text = (const char *)data + 1;
	if (data[0] == 't' || data[0] == 'm') {
		look_at_remote((char)data[0], text, size - 1);
	} else if (data[0] == 'a') {
		look_at_answer(text, size - 1);
	} else if (data[0] == 'c') {
		if (credentials_parse(text, size - 1, "fuzz", "r.io", "a/b", &credentials, &program,
				      &err) < 0 &&
		    !err.text[0])
			abort();
		if (program && strchr(program, '/'))
			abort();
		if (!credentials.user != !credentials.password)
			abort();
	} else if (settings_parse(text, size - 1, "fuzz", "r.io", &settings, &found, &err) < 0 &&
		   !err.text[0]) {
		abort();
	}
	return 0;
}
