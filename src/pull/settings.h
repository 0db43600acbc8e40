/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PULL_SETTINGS_H
#define PULL_SETTINGS_H

/*
 * Settings for registries: registries.toml in the data folder, else /etc/mvm/registries.toml.  A
 * host's table in the data folder replaces that in /etc.
 *
 *	[registry."docker.io"]
 *	mirrors = ["mirror.example:5000"]	asked first, in this order
 *
 *	[registry."mirror.example:5000"]
 *	ca = "/etc/ssl/mirror.pem"		certificates that count beside the system's
 *	insecure = true				plain http
 *	signed = ["**"]			templates that a trusted key must have signed
 */

#include <stdbool.h>

#include "base/error.h"
#include "base/own.h"
#include "model/template.h"

#define SETTINGS_NAME	     "registries.toml"
#define SETTINGS_MIRRORS_MAX 8u
#define SETTINGS_SIGNED_MAX  64u

struct settings {
	bool insecure;			/* default: true only for this machine itself */
	char *ca;			/* absolute path; NULL: the system's only */
	struct mvm_strings mirrors;	/* hosts */
	struct mvm_strings signed_only; /* patterns of repositories */
};
void settings_done(struct settings *s);
DEFINE_AUTO_DONE(settings, settings_done)

/*
 * Load the settings for a host.
 *
 *   data_dir  path of the data folder
 *   host      as struct image_ref has it
 *
 * Errors: -EINVAL with file and line; errno of reading.
 */
int settings_load(const char *data_dir, const char *host, struct settings *ret,
		  struct mvm_error *err);

/* Must templates of this repository of the host be signed? */
bool settings_want_signature(const struct settings *s, const char *host, const char *path);

/* Parse a document; false in *ret_found if it has no table for host. */
int settings_parse(const char *text, size_t len, const char *name, const char *host,
		   struct settings *ret, bool *ret_found, struct mvm_error *err);

#endif
