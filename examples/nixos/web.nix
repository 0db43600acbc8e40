# A web server on port 8080.
{ pkgs, ... }:
{
  services.nginx = {
    enable = true;
    virtualHosts.default = {
      default = true;
      listen = [
        {
          addr = "0.0.0.0";
          port = 8080;
        }
      ];
      root = pkgs.writeTextDir "index.html" "hello from NixOS in a microVM\n";
    };
  };
}
