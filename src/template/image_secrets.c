/* SPDX-License-Identifier: Apache-2.0 */
#include "template/image_secrets.h"

#include "base/error.h"
#include "base/progress.h"
#include "image/look.h"
#include "model/run.h"

#define NOTES_MAX 8u /* of a kind: more would not tell the user anything new */

static const char *const keys[] = {
	"/etc/ssh/ssh_host_*_key",
	"/etc/dropbear/dropbear_*_host_key",
	"/etc/ssl/private/*.key",
	"/etc/ssl/private/*.pem",
	"/etc/pki/tls/private/*.key",
	"/etc/nginx/*.key",
	"/var/lib/systemd/random-seed",
	"/var/lib/systemd/credential.secret",
	"/etc/krb5.keytab",
	"/root/.ssh/id_rsa",
	"/root/.ssh/id_ecdsa",
	"/root/.ssh/id_ed25519",
	"/root/.aws/credentials",
	"/root/.docker/config.json",
	"/root/.netrc",
};

/* Servers that make keys or tickets when they start, and keep them in memory. */
static const char *const servers[] = {
	"/usr/sbin/nginx",    "/usr/sbin/haproxy",    "/usr/local/sbin/haproxy",
	"/usr/sbin/apache2",  "/usr/local/bin/httpd", "/usr/bin/caddy",
	"/usr/bin/stunnel",   "/usr/local/bin/envoy", "/usr/local/bin/traefik",
	"/usr/sbin/sshd",     "/usr/sbin/dropbear",   "/usr/bin/redis-server",
	"/usr/bin/mosquitto", "/usr/sbin/mosquitto",
};

struct notes {
	const char *template_id;
	const struct mvm_progress *progress;
	unsigned n;
};

static bool on_key(void *arg, size_t pattern, const char *path)
{
	struct notes *notes = arg;
	(void)pattern;
	if (++notes->n > NOTES_MAX) {
		progress_note(notes->progress, "%s: and more such files", notes->template_id);
		return false;
	}
	progress_note(notes->progress,
		      "%s: the image has the secret '%s', which all its VMs share: remove it and "
		      "make it when a VM first starts",
		      notes->template_id, path);
	return true;
}

static bool on_server(void *arg, size_t pattern, const char *path)
{
	struct notes *notes = arg;
	(void)pattern;
	progress_note(notes->progress,
		      "%s: the image has the server '%s': clones of a running workload share the "
		      "keys and seeds in its memory; snapshot.point = \"boot\" starts the workload "
		      "in each clone",
		      notes->template_id, path);
	return ++notes->n < NOTES_MAX;
}

void image_secrets_note(int rootfs_fd, const char *template_id, const struct mvm_progress *progress)
{
	struct notes notes = { .template_id = template_id, .progress = progress };
	image_look(rootfs_fd, keys, MVM_ARRAY_SIZE(keys), on_key, &notes, NULL);
}

void image_servers_note(int rootfs_fd, const char *template_id, const struct mvm_run *run,
			const struct mvm_progress *progress)
{
	struct notes notes = { .template_id = template_id, .progress = progress };
	if (!run_starts_in_clone(run))
		image_look(rootfs_fd, servers, MVM_ARRAY_SIZE(servers), on_server, &notes, NULL);
}
