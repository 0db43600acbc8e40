# A small NixOS as a guest of mvm: root image, kernel and modules, with a web server in it.
{
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-24.11";

  outputs =
    { self, nixpkgs }:
    let
      system = "x86_64-linux";
      pkgs = nixpkgs.legacyPackages.${system};

      # One guest for each name; a template's role and profile choose among them.
      guest =
        modules:
        let
          nixos = nixpkgs.lib.nixosSystem {
            inherit system;
            modules = [ ./guest.nix ] ++ modules;
          };
          toplevel = nixos.config.system.build.toplevel;

          # Made by mke2fs from the closure and never mounted, so it can be mounted read-only.
          image = pkgs.callPackage "${nixpkgs}/nixos/lib/make-ext4-fs.nix" {
            storePaths = [ toplevel ];
            volumeLabel = "nixos";
            # mvm's agent starts /sbin/init as PID 1 once the root is mounted
            populateImageCommands = ''
              mkdir -p files/sbin files/etc files/tmp files/var
              ln -s ${toplevel}/init files/sbin/init
            '';
          };
        in
        pkgs.runCommand "mvm-guest" { } ''
          mkdir -p $out/lib
          ln -s ${image} $out/rootfs.ext4
          ln -s ${nixos.config.boot.kernelPackages.kernel}/bzImage $out/kernel
          ln -s ${nixos.config.system.modulesTree}/lib/modules $out/lib/modules
        '';
    in
    {
      packages.${system} = {
        # role "worker", any profile without a package of its own
        worker = guest [ ];
        # role "web"
        web = guest [ ./web.nix ];
      };
    };
}
