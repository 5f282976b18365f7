//! Kubernetes: ingresses, our custom resources, the Gateway API, ingress-nginx' annotations, Knative.

pub(crate) mod crd;
pub(crate) mod gateway;
pub(crate) mod ingress;
pub(crate) mod ingress_nginx;
pub(crate) mod knative;
