package io.github.loomgrpc.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * What operators do while the server runs.
 * Every call needs the credentials of an admin: `authorization: Bearer` with the admin key of the configuration (`admin.api_key`), or
 * with a key or a token whose role is admin. Where there is neither, the server refuses them all with PERMISSION_DENIED, on a
 * loopback address too. No answer holds a secret but the text of a key that was just made. Errors are those of LlmService.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class AdminServiceGrpc {

  private AdminServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "loom_grpc.v1.AdminService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListAccountsRequest,
      io.github.loomgrpc.v1.ListAccountsResponse> getListAccountsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListAccounts",
      requestType = io.github.loomgrpc.v1.ListAccountsRequest.class,
      responseType = io.github.loomgrpc.v1.ListAccountsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListAccountsRequest,
      io.github.loomgrpc.v1.ListAccountsResponse> getListAccountsMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListAccountsRequest, io.github.loomgrpc.v1.ListAccountsResponse> getListAccountsMethod;
    if ((getListAccountsMethod = AdminServiceGrpc.getListAccountsMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getListAccountsMethod = AdminServiceGrpc.getListAccountsMethod) == null) {
          AdminServiceGrpc.getListAccountsMethod = getListAccountsMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.ListAccountsRequest, io.github.loomgrpc.v1.ListAccountsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListAccounts"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ListAccountsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ListAccountsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("ListAccounts"))
              .build();
        }
      }
    }
    return getListAccountsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.AddAccountRequest,
      io.github.loomgrpc.v1.AddAccountResponse> getAddAccountMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "AddAccount",
      requestType = io.github.loomgrpc.v1.AddAccountRequest.class,
      responseType = io.github.loomgrpc.v1.AddAccountResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.AddAccountRequest,
      io.github.loomgrpc.v1.AddAccountResponse> getAddAccountMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.AddAccountRequest, io.github.loomgrpc.v1.AddAccountResponse> getAddAccountMethod;
    if ((getAddAccountMethod = AdminServiceGrpc.getAddAccountMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getAddAccountMethod = AdminServiceGrpc.getAddAccountMethod) == null) {
          AdminServiceGrpc.getAddAccountMethod = getAddAccountMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.AddAccountRequest, io.github.loomgrpc.v1.AddAccountResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "AddAccount"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.AddAccountRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.AddAccountResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("AddAccount"))
              .build();
        }
      }
    }
    return getAddAccountMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.RemoveAccountRequest,
      io.github.loomgrpc.v1.RemoveAccountResponse> getRemoveAccountMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RemoveAccount",
      requestType = io.github.loomgrpc.v1.RemoveAccountRequest.class,
      responseType = io.github.loomgrpc.v1.RemoveAccountResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.RemoveAccountRequest,
      io.github.loomgrpc.v1.RemoveAccountResponse> getRemoveAccountMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.RemoveAccountRequest, io.github.loomgrpc.v1.RemoveAccountResponse> getRemoveAccountMethod;
    if ((getRemoveAccountMethod = AdminServiceGrpc.getRemoveAccountMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getRemoveAccountMethod = AdminServiceGrpc.getRemoveAccountMethod) == null) {
          AdminServiceGrpc.getRemoveAccountMethod = getRemoveAccountMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.RemoveAccountRequest, io.github.loomgrpc.v1.RemoveAccountResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RemoveAccount"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.RemoveAccountRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.RemoveAccountResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("RemoveAccount"))
              .build();
        }
      }
    }
    return getRemoveAccountMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.EnableAccountRequest,
      io.github.loomgrpc.v1.EnableAccountResponse> getEnableAccountMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "EnableAccount",
      requestType = io.github.loomgrpc.v1.EnableAccountRequest.class,
      responseType = io.github.loomgrpc.v1.EnableAccountResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.EnableAccountRequest,
      io.github.loomgrpc.v1.EnableAccountResponse> getEnableAccountMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.EnableAccountRequest, io.github.loomgrpc.v1.EnableAccountResponse> getEnableAccountMethod;
    if ((getEnableAccountMethod = AdminServiceGrpc.getEnableAccountMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getEnableAccountMethod = AdminServiceGrpc.getEnableAccountMethod) == null) {
          AdminServiceGrpc.getEnableAccountMethod = getEnableAccountMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.EnableAccountRequest, io.github.loomgrpc.v1.EnableAccountResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "EnableAccount"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.EnableAccountRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.EnableAccountResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("EnableAccount"))
              .build();
        }
      }
    }
    return getEnableAccountMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.DisableAccountRequest,
      io.github.loomgrpc.v1.DisableAccountResponse> getDisableAccountMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "DisableAccount",
      requestType = io.github.loomgrpc.v1.DisableAccountRequest.class,
      responseType = io.github.loomgrpc.v1.DisableAccountResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.DisableAccountRequest,
      io.github.loomgrpc.v1.DisableAccountResponse> getDisableAccountMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.DisableAccountRequest, io.github.loomgrpc.v1.DisableAccountResponse> getDisableAccountMethod;
    if ((getDisableAccountMethod = AdminServiceGrpc.getDisableAccountMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getDisableAccountMethod = AdminServiceGrpc.getDisableAccountMethod) == null) {
          AdminServiceGrpc.getDisableAccountMethod = getDisableAccountMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.DisableAccountRequest, io.github.loomgrpc.v1.DisableAccountResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "DisableAccount"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.DisableAccountRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.DisableAccountResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("DisableAccount"))
              .build();
        }
      }
    }
    return getDisableAccountMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.StartLoginRequest,
      io.github.loomgrpc.v1.StartLoginResponse> getStartLoginMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "StartLogin",
      requestType = io.github.loomgrpc.v1.StartLoginRequest.class,
      responseType = io.github.loomgrpc.v1.StartLoginResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.StartLoginRequest,
      io.github.loomgrpc.v1.StartLoginResponse> getStartLoginMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.StartLoginRequest, io.github.loomgrpc.v1.StartLoginResponse> getStartLoginMethod;
    if ((getStartLoginMethod = AdminServiceGrpc.getStartLoginMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getStartLoginMethod = AdminServiceGrpc.getStartLoginMethod) == null) {
          AdminServiceGrpc.getStartLoginMethod = getStartLoginMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.StartLoginRequest, io.github.loomgrpc.v1.StartLoginResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "StartLogin"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.StartLoginRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.StartLoginResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("StartLogin"))
              .build();
        }
      }
    }
    return getStartLoginMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.FinishLoginRequest,
      io.github.loomgrpc.v1.FinishLoginResponse> getFinishLoginMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "FinishLogin",
      requestType = io.github.loomgrpc.v1.FinishLoginRequest.class,
      responseType = io.github.loomgrpc.v1.FinishLoginResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.FinishLoginRequest,
      io.github.loomgrpc.v1.FinishLoginResponse> getFinishLoginMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.FinishLoginRequest, io.github.loomgrpc.v1.FinishLoginResponse> getFinishLoginMethod;
    if ((getFinishLoginMethod = AdminServiceGrpc.getFinishLoginMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getFinishLoginMethod = AdminServiceGrpc.getFinishLoginMethod) == null) {
          AdminServiceGrpc.getFinishLoginMethod = getFinishLoginMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.FinishLoginRequest, io.github.loomgrpc.v1.FinishLoginResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "FinishLogin"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.FinishLoginRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.FinishLoginResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("FinishLogin"))
              .build();
        }
      }
    }
    return getFinishLoginMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.WatchHealthRequest,
      io.github.loomgrpc.v1.WatchHealthResponse> getWatchHealthMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "WatchHealth",
      requestType = io.github.loomgrpc.v1.WatchHealthRequest.class,
      responseType = io.github.loomgrpc.v1.WatchHealthResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.WatchHealthRequest,
      io.github.loomgrpc.v1.WatchHealthResponse> getWatchHealthMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.WatchHealthRequest, io.github.loomgrpc.v1.WatchHealthResponse> getWatchHealthMethod;
    if ((getWatchHealthMethod = AdminServiceGrpc.getWatchHealthMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getWatchHealthMethod = AdminServiceGrpc.getWatchHealthMethod) == null) {
          AdminServiceGrpc.getWatchHealthMethod = getWatchHealthMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.WatchHealthRequest, io.github.loomgrpc.v1.WatchHealthResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "WatchHealth"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.WatchHealthRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.WatchHealthResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("WatchHealth"))
              .build();
        }
      }
    }
    return getWatchHealthMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ReloadConfigRequest,
      io.github.loomgrpc.v1.ReloadConfigResponse> getReloadConfigMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ReloadConfig",
      requestType = io.github.loomgrpc.v1.ReloadConfigRequest.class,
      responseType = io.github.loomgrpc.v1.ReloadConfigResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ReloadConfigRequest,
      io.github.loomgrpc.v1.ReloadConfigResponse> getReloadConfigMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ReloadConfigRequest, io.github.loomgrpc.v1.ReloadConfigResponse> getReloadConfigMethod;
    if ((getReloadConfigMethod = AdminServiceGrpc.getReloadConfigMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getReloadConfigMethod = AdminServiceGrpc.getReloadConfigMethod) == null) {
          AdminServiceGrpc.getReloadConfigMethod = getReloadConfigMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.ReloadConfigRequest, io.github.loomgrpc.v1.ReloadConfigResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ReloadConfig"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ReloadConfigRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ReloadConfigResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("ReloadConfig"))
              .build();
        }
      }
    }
    return getReloadConfigMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.CreateOrganizationRequest,
      io.github.loomgrpc.v1.CreateOrganizationResponse> getCreateOrganizationMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CreateOrganization",
      requestType = io.github.loomgrpc.v1.CreateOrganizationRequest.class,
      responseType = io.github.loomgrpc.v1.CreateOrganizationResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.CreateOrganizationRequest,
      io.github.loomgrpc.v1.CreateOrganizationResponse> getCreateOrganizationMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.CreateOrganizationRequest, io.github.loomgrpc.v1.CreateOrganizationResponse> getCreateOrganizationMethod;
    if ((getCreateOrganizationMethod = AdminServiceGrpc.getCreateOrganizationMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getCreateOrganizationMethod = AdminServiceGrpc.getCreateOrganizationMethod) == null) {
          AdminServiceGrpc.getCreateOrganizationMethod = getCreateOrganizationMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.CreateOrganizationRequest, io.github.loomgrpc.v1.CreateOrganizationResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CreateOrganization"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.CreateOrganizationRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.CreateOrganizationResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("CreateOrganization"))
              .build();
        }
      }
    }
    return getCreateOrganizationMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListOrganizationsRequest,
      io.github.loomgrpc.v1.ListOrganizationsResponse> getListOrganizationsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListOrganizations",
      requestType = io.github.loomgrpc.v1.ListOrganizationsRequest.class,
      responseType = io.github.loomgrpc.v1.ListOrganizationsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListOrganizationsRequest,
      io.github.loomgrpc.v1.ListOrganizationsResponse> getListOrganizationsMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListOrganizationsRequest, io.github.loomgrpc.v1.ListOrganizationsResponse> getListOrganizationsMethod;
    if ((getListOrganizationsMethod = AdminServiceGrpc.getListOrganizationsMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getListOrganizationsMethod = AdminServiceGrpc.getListOrganizationsMethod) == null) {
          AdminServiceGrpc.getListOrganizationsMethod = getListOrganizationsMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.ListOrganizationsRequest, io.github.loomgrpc.v1.ListOrganizationsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListOrganizations"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ListOrganizationsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ListOrganizationsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("ListOrganizations"))
              .build();
        }
      }
    }
    return getListOrganizationsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.UpdateOrganizationRequest,
      io.github.loomgrpc.v1.UpdateOrganizationResponse> getUpdateOrganizationMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "UpdateOrganization",
      requestType = io.github.loomgrpc.v1.UpdateOrganizationRequest.class,
      responseType = io.github.loomgrpc.v1.UpdateOrganizationResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.UpdateOrganizationRequest,
      io.github.loomgrpc.v1.UpdateOrganizationResponse> getUpdateOrganizationMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.UpdateOrganizationRequest, io.github.loomgrpc.v1.UpdateOrganizationResponse> getUpdateOrganizationMethod;
    if ((getUpdateOrganizationMethod = AdminServiceGrpc.getUpdateOrganizationMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getUpdateOrganizationMethod = AdminServiceGrpc.getUpdateOrganizationMethod) == null) {
          AdminServiceGrpc.getUpdateOrganizationMethod = getUpdateOrganizationMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.UpdateOrganizationRequest, io.github.loomgrpc.v1.UpdateOrganizationResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "UpdateOrganization"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.UpdateOrganizationRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.UpdateOrganizationResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("UpdateOrganization"))
              .build();
        }
      }
    }
    return getUpdateOrganizationMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.DeleteOrganizationRequest,
      io.github.loomgrpc.v1.DeleteOrganizationResponse> getDeleteOrganizationMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "DeleteOrganization",
      requestType = io.github.loomgrpc.v1.DeleteOrganizationRequest.class,
      responseType = io.github.loomgrpc.v1.DeleteOrganizationResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.DeleteOrganizationRequest,
      io.github.loomgrpc.v1.DeleteOrganizationResponse> getDeleteOrganizationMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.DeleteOrganizationRequest, io.github.loomgrpc.v1.DeleteOrganizationResponse> getDeleteOrganizationMethod;
    if ((getDeleteOrganizationMethod = AdminServiceGrpc.getDeleteOrganizationMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getDeleteOrganizationMethod = AdminServiceGrpc.getDeleteOrganizationMethod) == null) {
          AdminServiceGrpc.getDeleteOrganizationMethod = getDeleteOrganizationMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.DeleteOrganizationRequest, io.github.loomgrpc.v1.DeleteOrganizationResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "DeleteOrganization"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.DeleteOrganizationRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.DeleteOrganizationResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("DeleteOrganization"))
              .build();
        }
      }
    }
    return getDeleteOrganizationMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.CreateTeamRequest,
      io.github.loomgrpc.v1.CreateTeamResponse> getCreateTeamMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CreateTeam",
      requestType = io.github.loomgrpc.v1.CreateTeamRequest.class,
      responseType = io.github.loomgrpc.v1.CreateTeamResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.CreateTeamRequest,
      io.github.loomgrpc.v1.CreateTeamResponse> getCreateTeamMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.CreateTeamRequest, io.github.loomgrpc.v1.CreateTeamResponse> getCreateTeamMethod;
    if ((getCreateTeamMethod = AdminServiceGrpc.getCreateTeamMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getCreateTeamMethod = AdminServiceGrpc.getCreateTeamMethod) == null) {
          AdminServiceGrpc.getCreateTeamMethod = getCreateTeamMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.CreateTeamRequest, io.github.loomgrpc.v1.CreateTeamResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CreateTeam"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.CreateTeamRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.CreateTeamResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("CreateTeam"))
              .build();
        }
      }
    }
    return getCreateTeamMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListTeamsRequest,
      io.github.loomgrpc.v1.ListTeamsResponse> getListTeamsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListTeams",
      requestType = io.github.loomgrpc.v1.ListTeamsRequest.class,
      responseType = io.github.loomgrpc.v1.ListTeamsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListTeamsRequest,
      io.github.loomgrpc.v1.ListTeamsResponse> getListTeamsMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListTeamsRequest, io.github.loomgrpc.v1.ListTeamsResponse> getListTeamsMethod;
    if ((getListTeamsMethod = AdminServiceGrpc.getListTeamsMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getListTeamsMethod = AdminServiceGrpc.getListTeamsMethod) == null) {
          AdminServiceGrpc.getListTeamsMethod = getListTeamsMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.ListTeamsRequest, io.github.loomgrpc.v1.ListTeamsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListTeams"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ListTeamsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ListTeamsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("ListTeams"))
              .build();
        }
      }
    }
    return getListTeamsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.UpdateTeamRequest,
      io.github.loomgrpc.v1.UpdateTeamResponse> getUpdateTeamMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "UpdateTeam",
      requestType = io.github.loomgrpc.v1.UpdateTeamRequest.class,
      responseType = io.github.loomgrpc.v1.UpdateTeamResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.UpdateTeamRequest,
      io.github.loomgrpc.v1.UpdateTeamResponse> getUpdateTeamMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.UpdateTeamRequest, io.github.loomgrpc.v1.UpdateTeamResponse> getUpdateTeamMethod;
    if ((getUpdateTeamMethod = AdminServiceGrpc.getUpdateTeamMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getUpdateTeamMethod = AdminServiceGrpc.getUpdateTeamMethod) == null) {
          AdminServiceGrpc.getUpdateTeamMethod = getUpdateTeamMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.UpdateTeamRequest, io.github.loomgrpc.v1.UpdateTeamResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "UpdateTeam"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.UpdateTeamRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.UpdateTeamResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("UpdateTeam"))
              .build();
        }
      }
    }
    return getUpdateTeamMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.DeleteTeamRequest,
      io.github.loomgrpc.v1.DeleteTeamResponse> getDeleteTeamMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "DeleteTeam",
      requestType = io.github.loomgrpc.v1.DeleteTeamRequest.class,
      responseType = io.github.loomgrpc.v1.DeleteTeamResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.DeleteTeamRequest,
      io.github.loomgrpc.v1.DeleteTeamResponse> getDeleteTeamMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.DeleteTeamRequest, io.github.loomgrpc.v1.DeleteTeamResponse> getDeleteTeamMethod;
    if ((getDeleteTeamMethod = AdminServiceGrpc.getDeleteTeamMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getDeleteTeamMethod = AdminServiceGrpc.getDeleteTeamMethod) == null) {
          AdminServiceGrpc.getDeleteTeamMethod = getDeleteTeamMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.DeleteTeamRequest, io.github.loomgrpc.v1.DeleteTeamResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "DeleteTeam"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.DeleteTeamRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.DeleteTeamResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("DeleteTeam"))
              .build();
        }
      }
    }
    return getDeleteTeamMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.CreateUserRequest,
      io.github.loomgrpc.v1.CreateUserResponse> getCreateUserMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CreateUser",
      requestType = io.github.loomgrpc.v1.CreateUserRequest.class,
      responseType = io.github.loomgrpc.v1.CreateUserResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.CreateUserRequest,
      io.github.loomgrpc.v1.CreateUserResponse> getCreateUserMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.CreateUserRequest, io.github.loomgrpc.v1.CreateUserResponse> getCreateUserMethod;
    if ((getCreateUserMethod = AdminServiceGrpc.getCreateUserMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getCreateUserMethod = AdminServiceGrpc.getCreateUserMethod) == null) {
          AdminServiceGrpc.getCreateUserMethod = getCreateUserMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.CreateUserRequest, io.github.loomgrpc.v1.CreateUserResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CreateUser"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.CreateUserRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.CreateUserResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("CreateUser"))
              .build();
        }
      }
    }
    return getCreateUserMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListUsersRequest,
      io.github.loomgrpc.v1.ListUsersResponse> getListUsersMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListUsers",
      requestType = io.github.loomgrpc.v1.ListUsersRequest.class,
      responseType = io.github.loomgrpc.v1.ListUsersResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListUsersRequest,
      io.github.loomgrpc.v1.ListUsersResponse> getListUsersMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListUsersRequest, io.github.loomgrpc.v1.ListUsersResponse> getListUsersMethod;
    if ((getListUsersMethod = AdminServiceGrpc.getListUsersMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getListUsersMethod = AdminServiceGrpc.getListUsersMethod) == null) {
          AdminServiceGrpc.getListUsersMethod = getListUsersMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.ListUsersRequest, io.github.loomgrpc.v1.ListUsersResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListUsers"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ListUsersRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ListUsersResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("ListUsers"))
              .build();
        }
      }
    }
    return getListUsersMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.UpdateUserRequest,
      io.github.loomgrpc.v1.UpdateUserResponse> getUpdateUserMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "UpdateUser",
      requestType = io.github.loomgrpc.v1.UpdateUserRequest.class,
      responseType = io.github.loomgrpc.v1.UpdateUserResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.UpdateUserRequest,
      io.github.loomgrpc.v1.UpdateUserResponse> getUpdateUserMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.UpdateUserRequest, io.github.loomgrpc.v1.UpdateUserResponse> getUpdateUserMethod;
    if ((getUpdateUserMethod = AdminServiceGrpc.getUpdateUserMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getUpdateUserMethod = AdminServiceGrpc.getUpdateUserMethod) == null) {
          AdminServiceGrpc.getUpdateUserMethod = getUpdateUserMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.UpdateUserRequest, io.github.loomgrpc.v1.UpdateUserResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "UpdateUser"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.UpdateUserRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.UpdateUserResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("UpdateUser"))
              .build();
        }
      }
    }
    return getUpdateUserMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.DeleteUserRequest,
      io.github.loomgrpc.v1.DeleteUserResponse> getDeleteUserMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "DeleteUser",
      requestType = io.github.loomgrpc.v1.DeleteUserRequest.class,
      responseType = io.github.loomgrpc.v1.DeleteUserResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.DeleteUserRequest,
      io.github.loomgrpc.v1.DeleteUserResponse> getDeleteUserMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.DeleteUserRequest, io.github.loomgrpc.v1.DeleteUserResponse> getDeleteUserMethod;
    if ((getDeleteUserMethod = AdminServiceGrpc.getDeleteUserMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getDeleteUserMethod = AdminServiceGrpc.getDeleteUserMethod) == null) {
          AdminServiceGrpc.getDeleteUserMethod = getDeleteUserMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.DeleteUserRequest, io.github.loomgrpc.v1.DeleteUserResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "DeleteUser"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.DeleteUserRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.DeleteUserResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("DeleteUser"))
              .build();
        }
      }
    }
    return getDeleteUserMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.CreateKeyRequest,
      io.github.loomgrpc.v1.CreateKeyResponse> getCreateKeyMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CreateKey",
      requestType = io.github.loomgrpc.v1.CreateKeyRequest.class,
      responseType = io.github.loomgrpc.v1.CreateKeyResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.CreateKeyRequest,
      io.github.loomgrpc.v1.CreateKeyResponse> getCreateKeyMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.CreateKeyRequest, io.github.loomgrpc.v1.CreateKeyResponse> getCreateKeyMethod;
    if ((getCreateKeyMethod = AdminServiceGrpc.getCreateKeyMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getCreateKeyMethod = AdminServiceGrpc.getCreateKeyMethod) == null) {
          AdminServiceGrpc.getCreateKeyMethod = getCreateKeyMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.CreateKeyRequest, io.github.loomgrpc.v1.CreateKeyResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CreateKey"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.CreateKeyRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.CreateKeyResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("CreateKey"))
              .build();
        }
      }
    }
    return getCreateKeyMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListKeysRequest,
      io.github.loomgrpc.v1.ListKeysResponse> getListKeysMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListKeys",
      requestType = io.github.loomgrpc.v1.ListKeysRequest.class,
      responseType = io.github.loomgrpc.v1.ListKeysResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListKeysRequest,
      io.github.loomgrpc.v1.ListKeysResponse> getListKeysMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListKeysRequest, io.github.loomgrpc.v1.ListKeysResponse> getListKeysMethod;
    if ((getListKeysMethod = AdminServiceGrpc.getListKeysMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getListKeysMethod = AdminServiceGrpc.getListKeysMethod) == null) {
          AdminServiceGrpc.getListKeysMethod = getListKeysMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.ListKeysRequest, io.github.loomgrpc.v1.ListKeysResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListKeys"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ListKeysRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ListKeysResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("ListKeys"))
              .build();
        }
      }
    }
    return getListKeysMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.UpdateKeyRequest,
      io.github.loomgrpc.v1.UpdateKeyResponse> getUpdateKeyMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "UpdateKey",
      requestType = io.github.loomgrpc.v1.UpdateKeyRequest.class,
      responseType = io.github.loomgrpc.v1.UpdateKeyResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.UpdateKeyRequest,
      io.github.loomgrpc.v1.UpdateKeyResponse> getUpdateKeyMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.UpdateKeyRequest, io.github.loomgrpc.v1.UpdateKeyResponse> getUpdateKeyMethod;
    if ((getUpdateKeyMethod = AdminServiceGrpc.getUpdateKeyMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getUpdateKeyMethod = AdminServiceGrpc.getUpdateKeyMethod) == null) {
          AdminServiceGrpc.getUpdateKeyMethod = getUpdateKeyMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.UpdateKeyRequest, io.github.loomgrpc.v1.UpdateKeyResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "UpdateKey"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.UpdateKeyRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.UpdateKeyResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("UpdateKey"))
              .build();
        }
      }
    }
    return getUpdateKeyMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.RotateKeyRequest,
      io.github.loomgrpc.v1.RotateKeyResponse> getRotateKeyMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RotateKey",
      requestType = io.github.loomgrpc.v1.RotateKeyRequest.class,
      responseType = io.github.loomgrpc.v1.RotateKeyResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.RotateKeyRequest,
      io.github.loomgrpc.v1.RotateKeyResponse> getRotateKeyMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.RotateKeyRequest, io.github.loomgrpc.v1.RotateKeyResponse> getRotateKeyMethod;
    if ((getRotateKeyMethod = AdminServiceGrpc.getRotateKeyMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getRotateKeyMethod = AdminServiceGrpc.getRotateKeyMethod) == null) {
          AdminServiceGrpc.getRotateKeyMethod = getRotateKeyMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.RotateKeyRequest, io.github.loomgrpc.v1.RotateKeyResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RotateKey"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.RotateKeyRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.RotateKeyResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("RotateKey"))
              .build();
        }
      }
    }
    return getRotateKeyMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.RevokeKeyRequest,
      io.github.loomgrpc.v1.RevokeKeyResponse> getRevokeKeyMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RevokeKey",
      requestType = io.github.loomgrpc.v1.RevokeKeyRequest.class,
      responseType = io.github.loomgrpc.v1.RevokeKeyResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.RevokeKeyRequest,
      io.github.loomgrpc.v1.RevokeKeyResponse> getRevokeKeyMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.RevokeKeyRequest, io.github.loomgrpc.v1.RevokeKeyResponse> getRevokeKeyMethod;
    if ((getRevokeKeyMethod = AdminServiceGrpc.getRevokeKeyMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getRevokeKeyMethod = AdminServiceGrpc.getRevokeKeyMethod) == null) {
          AdminServiceGrpc.getRevokeKeyMethod = getRevokeKeyMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.RevokeKeyRequest, io.github.loomgrpc.v1.RevokeKeyResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RevokeKey"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.RevokeKeyRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.RevokeKeyResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("RevokeKey"))
              .build();
        }
      }
    }
    return getRevokeKeyMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.CreateBudgetRequest,
      io.github.loomgrpc.v1.CreateBudgetResponse> getCreateBudgetMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CreateBudget",
      requestType = io.github.loomgrpc.v1.CreateBudgetRequest.class,
      responseType = io.github.loomgrpc.v1.CreateBudgetResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.CreateBudgetRequest,
      io.github.loomgrpc.v1.CreateBudgetResponse> getCreateBudgetMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.CreateBudgetRequest, io.github.loomgrpc.v1.CreateBudgetResponse> getCreateBudgetMethod;
    if ((getCreateBudgetMethod = AdminServiceGrpc.getCreateBudgetMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getCreateBudgetMethod = AdminServiceGrpc.getCreateBudgetMethod) == null) {
          AdminServiceGrpc.getCreateBudgetMethod = getCreateBudgetMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.CreateBudgetRequest, io.github.loomgrpc.v1.CreateBudgetResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CreateBudget"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.CreateBudgetRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.CreateBudgetResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("CreateBudget"))
              .build();
        }
      }
    }
    return getCreateBudgetMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListBudgetsRequest,
      io.github.loomgrpc.v1.ListBudgetsResponse> getListBudgetsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListBudgets",
      requestType = io.github.loomgrpc.v1.ListBudgetsRequest.class,
      responseType = io.github.loomgrpc.v1.ListBudgetsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListBudgetsRequest,
      io.github.loomgrpc.v1.ListBudgetsResponse> getListBudgetsMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListBudgetsRequest, io.github.loomgrpc.v1.ListBudgetsResponse> getListBudgetsMethod;
    if ((getListBudgetsMethod = AdminServiceGrpc.getListBudgetsMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getListBudgetsMethod = AdminServiceGrpc.getListBudgetsMethod) == null) {
          AdminServiceGrpc.getListBudgetsMethod = getListBudgetsMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.ListBudgetsRequest, io.github.loomgrpc.v1.ListBudgetsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListBudgets"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ListBudgetsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ListBudgetsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("ListBudgets"))
              .build();
        }
      }
    }
    return getListBudgetsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.UpdateBudgetRequest,
      io.github.loomgrpc.v1.UpdateBudgetResponse> getUpdateBudgetMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "UpdateBudget",
      requestType = io.github.loomgrpc.v1.UpdateBudgetRequest.class,
      responseType = io.github.loomgrpc.v1.UpdateBudgetResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.UpdateBudgetRequest,
      io.github.loomgrpc.v1.UpdateBudgetResponse> getUpdateBudgetMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.UpdateBudgetRequest, io.github.loomgrpc.v1.UpdateBudgetResponse> getUpdateBudgetMethod;
    if ((getUpdateBudgetMethod = AdminServiceGrpc.getUpdateBudgetMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getUpdateBudgetMethod = AdminServiceGrpc.getUpdateBudgetMethod) == null) {
          AdminServiceGrpc.getUpdateBudgetMethod = getUpdateBudgetMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.UpdateBudgetRequest, io.github.loomgrpc.v1.UpdateBudgetResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "UpdateBudget"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.UpdateBudgetRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.UpdateBudgetResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("UpdateBudget"))
              .build();
        }
      }
    }
    return getUpdateBudgetMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.DeleteBudgetRequest,
      io.github.loomgrpc.v1.DeleteBudgetResponse> getDeleteBudgetMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "DeleteBudget",
      requestType = io.github.loomgrpc.v1.DeleteBudgetRequest.class,
      responseType = io.github.loomgrpc.v1.DeleteBudgetResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.DeleteBudgetRequest,
      io.github.loomgrpc.v1.DeleteBudgetResponse> getDeleteBudgetMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.DeleteBudgetRequest, io.github.loomgrpc.v1.DeleteBudgetResponse> getDeleteBudgetMethod;
    if ((getDeleteBudgetMethod = AdminServiceGrpc.getDeleteBudgetMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getDeleteBudgetMethod = AdminServiceGrpc.getDeleteBudgetMethod) == null) {
          AdminServiceGrpc.getDeleteBudgetMethod = getDeleteBudgetMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.DeleteBudgetRequest, io.github.loomgrpc.v1.DeleteBudgetResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "DeleteBudget"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.DeleteBudgetRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.DeleteBudgetResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("DeleteBudget"))
              .build();
        }
      }
    }
    return getDeleteBudgetMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.QueryUsageRequest,
      io.github.loomgrpc.v1.QueryUsageResponse> getQueryUsageMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "QueryUsage",
      requestType = io.github.loomgrpc.v1.QueryUsageRequest.class,
      responseType = io.github.loomgrpc.v1.QueryUsageResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.QueryUsageRequest,
      io.github.loomgrpc.v1.QueryUsageResponse> getQueryUsageMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.QueryUsageRequest, io.github.loomgrpc.v1.QueryUsageResponse> getQueryUsageMethod;
    if ((getQueryUsageMethod = AdminServiceGrpc.getQueryUsageMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getQueryUsageMethod = AdminServiceGrpc.getQueryUsageMethod) == null) {
          AdminServiceGrpc.getQueryUsageMethod = getQueryUsageMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.QueryUsageRequest, io.github.loomgrpc.v1.QueryUsageResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "QueryUsage"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.QueryUsageRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.QueryUsageResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("QueryUsage"))
              .build();
        }
      }
    }
    return getQueryUsageMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListCallsRequest,
      io.github.loomgrpc.v1.ListCallsResponse> getListCallsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListCalls",
      requestType = io.github.loomgrpc.v1.ListCallsRequest.class,
      responseType = io.github.loomgrpc.v1.ListCallsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListCallsRequest,
      io.github.loomgrpc.v1.ListCallsResponse> getListCallsMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ListCallsRequest, io.github.loomgrpc.v1.ListCallsResponse> getListCallsMethod;
    if ((getListCallsMethod = AdminServiceGrpc.getListCallsMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getListCallsMethod = AdminServiceGrpc.getListCallsMethod) == null) {
          AdminServiceGrpc.getListCallsMethod = getListCallsMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.ListCallsRequest, io.github.loomgrpc.v1.ListCallsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListCalls"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ListCallsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ListCallsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("ListCalls"))
              .build();
        }
      }
    }
    return getListCallsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.GetCallRequest,
      io.github.loomgrpc.v1.GetCallResponse> getGetCallMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetCall",
      requestType = io.github.loomgrpc.v1.GetCallRequest.class,
      responseType = io.github.loomgrpc.v1.GetCallResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.GetCallRequest,
      io.github.loomgrpc.v1.GetCallResponse> getGetCallMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.GetCallRequest, io.github.loomgrpc.v1.GetCallResponse> getGetCallMethod;
    if ((getGetCallMethod = AdminServiceGrpc.getGetCallMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getGetCallMethod = AdminServiceGrpc.getGetCallMethod) == null) {
          AdminServiceGrpc.getGetCallMethod = getGetCallMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.GetCallRequest, io.github.loomgrpc.v1.GetCallResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetCall"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.GetCallRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.GetCallResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("GetCall"))
              .build();
        }
      }
    }
    return getGetCallMethod;
  }

  private static volatile io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ExportCallsRequest,
      io.github.loomgrpc.v1.ExportCallsResponse> getExportCallsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ExportCalls",
      requestType = io.github.loomgrpc.v1.ExportCallsRequest.class,
      responseType = io.github.loomgrpc.v1.ExportCallsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ExportCallsRequest,
      io.github.loomgrpc.v1.ExportCallsResponse> getExportCallsMethod() {
    io.grpc.MethodDescriptor<io.github.loomgrpc.v1.ExportCallsRequest, io.github.loomgrpc.v1.ExportCallsResponse> getExportCallsMethod;
    if ((getExportCallsMethod = AdminServiceGrpc.getExportCallsMethod) == null) {
      synchronized (AdminServiceGrpc.class) {
        if ((getExportCallsMethod = AdminServiceGrpc.getExportCallsMethod) == null) {
          AdminServiceGrpc.getExportCallsMethod = getExportCallsMethod =
              io.grpc.MethodDescriptor.<io.github.loomgrpc.v1.ExportCallsRequest, io.github.loomgrpc.v1.ExportCallsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ExportCalls"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ExportCallsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  io.github.loomgrpc.v1.ExportCallsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new AdminServiceMethodDescriptorSupplier("ExportCalls"))
              .build();
        }
      }
    }
    return getExportCallsMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static AdminServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<AdminServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<AdminServiceStub>() {
        @java.lang.Override
        public AdminServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new AdminServiceStub(channel, callOptions);
        }
      };
    return AdminServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static AdminServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<AdminServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<AdminServiceBlockingV2Stub>() {
        @java.lang.Override
        public AdminServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new AdminServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return AdminServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static AdminServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<AdminServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<AdminServiceBlockingStub>() {
        @java.lang.Override
        public AdminServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new AdminServiceBlockingStub(channel, callOptions);
        }
      };
    return AdminServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static AdminServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<AdminServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<AdminServiceFutureStub>() {
        @java.lang.Override
        public AdminServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new AdminServiceFutureStub(channel, callOptions);
        }
      };
    return AdminServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * What operators do while the server runs.
   * Every call needs the credentials of an admin: `authorization: Bearer` with the admin key of the configuration (`admin.api_key`), or
   * with a key or a token whose role is admin. Where there is neither, the server refuses them all with PERMISSION_DENIED, on a
   * loopback address too. No answer holds a secret but the text of a key that was just made. Errors are those of LlmService.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Lists the accounts that providers are asked with, and how they fare.
     * </pre>
     */
    default void listAccounts(io.github.loomgrpc.v1.ListAccountsRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListAccountsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListAccountsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Adds an account with a key of the provider. It is kept across restarts.
     * </pre>
     */
    default void addAccount(io.github.loomgrpc.v1.AddAccountRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.AddAccountResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getAddAccountMethod(), responseObserver);
    }

    /**
     * <pre>
     * Removes an account and forgets its key or tokens; calls in flight end as they would. An account of the configuration can
     * only be disabled.
     * </pre>
     */
    default void removeAccount(io.github.loomgrpc.v1.RemoveAccountRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.RemoveAccountResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRemoveAccountMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lets an account be asked again: ends its pause, or takes back that it was disabled.
     * </pre>
     */
    default void enableAccount(io.github.loomgrpc.v1.EnableAccountRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.EnableAccountResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getEnableAccountMethod(), responseObserver);
    }

    /**
     * <pre>
     * Keeps an account from being asked until it is enabled, also across restarts.
     * </pre>
     */
    default void disableAccount(io.github.loomgrpc.v1.DisableAccountRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.DisableAccountResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDisableAccountMethod(), responseObserver);
    }

    /**
     * <pre>
     * Begins an OAuth login (authorization code with PKCE), for a new account or for one whose tokens are no longer taken.
     * </pre>
     */
    default void startLogin(io.github.loomgrpc.v1.StartLoginRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.StartLoginResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getStartLoginMethod(), responseObserver);
    }

    /**
     * <pre>
     * Finishes an OAuth login with what the provider showed or sent after it.
     * </pre>
     */
    default void finishLogin(io.github.loomgrpc.v1.FinishLoginRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.FinishLoginResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getFinishLoginMethod(), responseObserver);
    }

    /**
     * <pre>
     * Tells how all accounts fare, and again whenever one of them changes its status, is added or is removed.
     * </pre>
     */
    default void watchHealth(io.github.loomgrpc.v1.WatchHealthRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.WatchHealthResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getWatchHealthMethod(), responseObserver);
    }

    /**
     * <pre>
     * Reads the configuration again and serves by it from now on; calls in flight end as they would. A configuration that cannot be
     * served is refused with INVALID_REQUEST and all of its problems, and the one before stays.
     * </pre>
     */
    default void reloadConfig(io.github.loomgrpc.v1.ReloadConfigRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ReloadConfigResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getReloadConfigMethod(), responseObserver);
    }

    /**
     * <pre>
     * Makes an organization.
     * </pre>
     */
    default void createOrganization(io.github.loomgrpc.v1.CreateOrganizationRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CreateOrganizationResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCreateOrganizationMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists organizations by their ids.
     * </pre>
     */
    default void listOrganizations(io.github.loomgrpc.v1.ListOrganizationsRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListOrganizationsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListOrganizationsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Changes an organization: the fields of `update_mask`, or all that are set where it is empty.
     * </pre>
     */
    default void updateOrganization(io.github.loomgrpc.v1.UpdateOrganizationRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.UpdateOrganizationResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getUpdateOrganizationMethod(), responseObserver);
    }

    /**
     * <pre>
     * Removes an organization; refused with CONFLICT while teams, users or keys belong to it.
     * </pre>
     */
    default void deleteOrganization(io.github.loomgrpc.v1.DeleteOrganizationRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.DeleteOrganizationResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDeleteOrganizationMethod(), responseObserver);
    }

    /**
     * <pre>
     * Makes a team.
     * </pre>
     */
    default void createTeam(io.github.loomgrpc.v1.CreateTeamRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CreateTeamResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCreateTeamMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists teams by their ids.
     * </pre>
     */
    default void listTeams(io.github.loomgrpc.v1.ListTeamsRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListTeamsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListTeamsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Changes a team: the fields of `update_mask`, or all that are set where it is empty.
     * </pre>
     */
    default void updateTeam(io.github.loomgrpc.v1.UpdateTeamRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.UpdateTeamResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getUpdateTeamMethod(), responseObserver);
    }

    /**
     * <pre>
     * Removes a team; refused with CONFLICT while users or keys belong to it.
     * </pre>
     */
    default void deleteTeam(io.github.loomgrpc.v1.DeleteTeamRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.DeleteTeamResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDeleteTeamMethod(), responseObserver);
    }

    /**
     * <pre>
     * Makes a user.
     * </pre>
     */
    default void createUser(io.github.loomgrpc.v1.CreateUserRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CreateUserResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCreateUserMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists users by their ids.
     * </pre>
     */
    default void listUsers(io.github.loomgrpc.v1.ListUsersRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListUsersResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListUsersMethod(), responseObserver);
    }

    /**
     * <pre>
     * Changes a user: the fields of `update_mask`, or all that are set where it is empty.
     * </pre>
     */
    default void updateUser(io.github.loomgrpc.v1.UpdateUserRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.UpdateUserResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getUpdateUserMethod(), responseObserver);
    }

    /**
     * <pre>
     * Removes a user; refused with CONFLICT while keys belong to it.
     * </pre>
     */
    default void deleteUser(io.github.loomgrpc.v1.DeleteUserRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.DeleteUserResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDeleteUserMethod(), responseObserver);
    }

    /**
     * <pre>
     * Makes a key and tells its text, this once.
     * </pre>
     */
    default void createKey(io.github.loomgrpc.v1.CreateKeyRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CreateKeyResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCreateKeyMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists keys, the newest first.
     * </pre>
     */
    default void listKeys(io.github.loomgrpc.v1.ListKeysRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListKeysResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListKeysMethod(), responseObserver);
    }

    /**
     * <pre>
     * Changes a key: its name, its expiry, what it is allowed and its limits.
     * </pre>
     */
    default void updateKey(io.github.loomgrpc.v1.UpdateKeyRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.UpdateKeyResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getUpdateKeyMethod(), responseObserver);
    }

    /**
     * <pre>
     * Makes a key that takes another one's place, and lets the old one end after a while. The new one ends when the old one would have, and
     * has budgets like it, of which nothing is spent yet.
     * </pre>
     */
    default void rotateKey(io.github.loomgrpc.v1.RotateKeyRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.RotateKeyResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRotateKeyMethod(), responseObserver);
    }

    /**
     * <pre>
     * Ends a key; within 2 seconds no server takes it any more.
     * </pre>
     */
    default void revokeKey(io.github.loomgrpc.v1.RevokeKeyRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.RevokeKeyResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRevokeKeyMethod(), responseObserver);
    }

    /**
     * <pre>
     * Makes a budget; a scope has at most one for each period.
     * </pre>
     */
    default void createBudget(io.github.loomgrpc.v1.CreateBudgetRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CreateBudgetResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCreateBudgetMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists budgets, with what was spent and is reserved.
     * </pre>
     */
    default void listBudgets(io.github.loomgrpc.v1.ListBudgetsRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListBudgetsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListBudgetsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Changes how much may be spent.
     * </pre>
     */
    default void updateBudget(io.github.loomgrpc.v1.UpdateBudgetRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.UpdateBudgetResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getUpdateBudgetMethod(), responseObserver);
    }

    /**
     * <pre>
     * Removes a budget.
     * </pre>
     */
    default void deleteBudget(io.github.loomgrpc.v1.DeleteBudgetRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.DeleteBudgetResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDeleteBudgetMethod(), responseObserver);
    }

    /**
     * <pre>
     * Adds up what was called, by time, caller, model or label.
     * </pre>
     */
    default void queryUsage(io.github.loomgrpc.v1.QueryUsageRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.QueryUsageResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getQueryUsageMethod(), responseObserver);
    }

    /**
     * <pre>
     * Lists the records of calls, the newest first, without prompts and answers.
     * </pre>
     */
    default void listCalls(io.github.loomgrpc.v1.ListCallsRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListCallsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListCallsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Returns the record of one call, with prompt and answer where they are kept.
     * </pre>
     */
    default void getCall(io.github.loomgrpc.v1.GetCallRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.GetCallResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetCallMethod(), responseObserver);
    }

    /**
     * <pre>
     * Sends the records of calls, the oldest first, with how many there are.
     * </pre>
     */
    default void exportCalls(io.github.loomgrpc.v1.ExportCallsRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ExportCallsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getExportCallsMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service AdminService.
   * <pre>
   * What operators do while the server runs.
   * Every call needs the credentials of an admin: `authorization: Bearer` with the admin key of the configuration (`admin.api_key`), or
   * with a key or a token whose role is admin. Where there is neither, the server refuses them all with PERMISSION_DENIED, on a
   * loopback address too. No answer holds a secret but the text of a key that was just made. Errors are those of LlmService.
   * </pre>
   */
  public static abstract class AdminServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return AdminServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service AdminService.
   * <pre>
   * What operators do while the server runs.
   * Every call needs the credentials of an admin: `authorization: Bearer` with the admin key of the configuration (`admin.api_key`), or
   * with a key or a token whose role is admin. Where there is neither, the server refuses them all with PERMISSION_DENIED, on a
   * loopback address too. No answer holds a secret but the text of a key that was just made. Errors are those of LlmService.
   * </pre>
   */
  public static final class AdminServiceStub
      extends io.grpc.stub.AbstractAsyncStub<AdminServiceStub> {
    private AdminServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected AdminServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new AdminServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Lists the accounts that providers are asked with, and how they fare.
     * </pre>
     */
    public void listAccounts(io.github.loomgrpc.v1.ListAccountsRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListAccountsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListAccountsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Adds an account with a key of the provider. It is kept across restarts.
     * </pre>
     */
    public void addAccount(io.github.loomgrpc.v1.AddAccountRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.AddAccountResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getAddAccountMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Removes an account and forgets its key or tokens; calls in flight end as they would. An account of the configuration can
     * only be disabled.
     * </pre>
     */
    public void removeAccount(io.github.loomgrpc.v1.RemoveAccountRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.RemoveAccountResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRemoveAccountMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lets an account be asked again: ends its pause, or takes back that it was disabled.
     * </pre>
     */
    public void enableAccount(io.github.loomgrpc.v1.EnableAccountRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.EnableAccountResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getEnableAccountMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Keeps an account from being asked until it is enabled, also across restarts.
     * </pre>
     */
    public void disableAccount(io.github.loomgrpc.v1.DisableAccountRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.DisableAccountResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getDisableAccountMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Begins an OAuth login (authorization code with PKCE), for a new account or for one whose tokens are no longer taken.
     * </pre>
     */
    public void startLogin(io.github.loomgrpc.v1.StartLoginRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.StartLoginResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getStartLoginMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Finishes an OAuth login with what the provider showed or sent after it.
     * </pre>
     */
    public void finishLogin(io.github.loomgrpc.v1.FinishLoginRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.FinishLoginResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getFinishLoginMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Tells how all accounts fare, and again whenever one of them changes its status, is added or is removed.
     * </pre>
     */
    public void watchHealth(io.github.loomgrpc.v1.WatchHealthRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.WatchHealthResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getWatchHealthMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Reads the configuration again and serves by it from now on; calls in flight end as they would. A configuration that cannot be
     * served is refused with INVALID_REQUEST and all of its problems, and the one before stays.
     * </pre>
     */
    public void reloadConfig(io.github.loomgrpc.v1.ReloadConfigRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ReloadConfigResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getReloadConfigMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Makes an organization.
     * </pre>
     */
    public void createOrganization(io.github.loomgrpc.v1.CreateOrganizationRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CreateOrganizationResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCreateOrganizationMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists organizations by their ids.
     * </pre>
     */
    public void listOrganizations(io.github.loomgrpc.v1.ListOrganizationsRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListOrganizationsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListOrganizationsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Changes an organization: the fields of `update_mask`, or all that are set where it is empty.
     * </pre>
     */
    public void updateOrganization(io.github.loomgrpc.v1.UpdateOrganizationRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.UpdateOrganizationResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getUpdateOrganizationMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Removes an organization; refused with CONFLICT while teams, users or keys belong to it.
     * </pre>
     */
    public void deleteOrganization(io.github.loomgrpc.v1.DeleteOrganizationRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.DeleteOrganizationResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getDeleteOrganizationMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Makes a team.
     * </pre>
     */
    public void createTeam(io.github.loomgrpc.v1.CreateTeamRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CreateTeamResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCreateTeamMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists teams by their ids.
     * </pre>
     */
    public void listTeams(io.github.loomgrpc.v1.ListTeamsRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListTeamsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListTeamsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Changes a team: the fields of `update_mask`, or all that are set where it is empty.
     * </pre>
     */
    public void updateTeam(io.github.loomgrpc.v1.UpdateTeamRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.UpdateTeamResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getUpdateTeamMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Removes a team; refused with CONFLICT while users or keys belong to it.
     * </pre>
     */
    public void deleteTeam(io.github.loomgrpc.v1.DeleteTeamRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.DeleteTeamResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getDeleteTeamMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Makes a user.
     * </pre>
     */
    public void createUser(io.github.loomgrpc.v1.CreateUserRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CreateUserResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCreateUserMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists users by their ids.
     * </pre>
     */
    public void listUsers(io.github.loomgrpc.v1.ListUsersRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListUsersResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListUsersMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Changes a user: the fields of `update_mask`, or all that are set where it is empty.
     * </pre>
     */
    public void updateUser(io.github.loomgrpc.v1.UpdateUserRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.UpdateUserResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getUpdateUserMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Removes a user; refused with CONFLICT while keys belong to it.
     * </pre>
     */
    public void deleteUser(io.github.loomgrpc.v1.DeleteUserRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.DeleteUserResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getDeleteUserMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Makes a key and tells its text, this once.
     * </pre>
     */
    public void createKey(io.github.loomgrpc.v1.CreateKeyRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CreateKeyResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCreateKeyMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists keys, the newest first.
     * </pre>
     */
    public void listKeys(io.github.loomgrpc.v1.ListKeysRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListKeysResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListKeysMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Changes a key: its name, its expiry, what it is allowed and its limits.
     * </pre>
     */
    public void updateKey(io.github.loomgrpc.v1.UpdateKeyRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.UpdateKeyResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getUpdateKeyMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Makes a key that takes another one's place, and lets the old one end after a while. The new one ends when the old one would have, and
     * has budgets like it, of which nothing is spent yet.
     * </pre>
     */
    public void rotateKey(io.github.loomgrpc.v1.RotateKeyRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.RotateKeyResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRotateKeyMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Ends a key; within 2 seconds no server takes it any more.
     * </pre>
     */
    public void revokeKey(io.github.loomgrpc.v1.RevokeKeyRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.RevokeKeyResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRevokeKeyMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Makes a budget; a scope has at most one for each period.
     * </pre>
     */
    public void createBudget(io.github.loomgrpc.v1.CreateBudgetRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CreateBudgetResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCreateBudgetMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists budgets, with what was spent and is reserved.
     * </pre>
     */
    public void listBudgets(io.github.loomgrpc.v1.ListBudgetsRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListBudgetsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListBudgetsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Changes how much may be spent.
     * </pre>
     */
    public void updateBudget(io.github.loomgrpc.v1.UpdateBudgetRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.UpdateBudgetResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getUpdateBudgetMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Removes a budget.
     * </pre>
     */
    public void deleteBudget(io.github.loomgrpc.v1.DeleteBudgetRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.DeleteBudgetResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getDeleteBudgetMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Adds up what was called, by time, caller, model or label.
     * </pre>
     */
    public void queryUsage(io.github.loomgrpc.v1.QueryUsageRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.QueryUsageResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getQueryUsageMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Lists the records of calls, the newest first, without prompts and answers.
     * </pre>
     */
    public void listCalls(io.github.loomgrpc.v1.ListCallsRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListCallsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListCallsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Returns the record of one call, with prompt and answer where they are kept.
     * </pre>
     */
    public void getCall(io.github.loomgrpc.v1.GetCallRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.GetCallResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetCallMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Sends the records of calls, the oldest first, with how many there are.
     * </pre>
     */
    public void exportCalls(io.github.loomgrpc.v1.ExportCallsRequest request,
        io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ExportCallsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getExportCallsMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service AdminService.
   * <pre>
   * What operators do while the server runs.
   * Every call needs the credentials of an admin: `authorization: Bearer` with the admin key of the configuration (`admin.api_key`), or
   * with a key or a token whose role is admin. Where there is neither, the server refuses them all with PERMISSION_DENIED, on a
   * loopback address too. No answer holds a secret but the text of a key that was just made. Errors are those of LlmService.
   * </pre>
   */
  public static final class AdminServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<AdminServiceBlockingV2Stub> {
    private AdminServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected AdminServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new AdminServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Lists the accounts that providers are asked with, and how they fare.
     * </pre>
     */
    public io.github.loomgrpc.v1.ListAccountsResponse listAccounts(io.github.loomgrpc.v1.ListAccountsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListAccountsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Adds an account with a key of the provider. It is kept across restarts.
     * </pre>
     */
    public io.github.loomgrpc.v1.AddAccountResponse addAccount(io.github.loomgrpc.v1.AddAccountRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getAddAccountMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes an account and forgets its key or tokens; calls in flight end as they would. An account of the configuration can
     * only be disabled.
     * </pre>
     */
    public io.github.loomgrpc.v1.RemoveAccountResponse removeAccount(io.github.loomgrpc.v1.RemoveAccountRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRemoveAccountMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lets an account be asked again: ends its pause, or takes back that it was disabled.
     * </pre>
     */
    public io.github.loomgrpc.v1.EnableAccountResponse enableAccount(io.github.loomgrpc.v1.EnableAccountRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getEnableAccountMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Keeps an account from being asked until it is enabled, also across restarts.
     * </pre>
     */
    public io.github.loomgrpc.v1.DisableAccountResponse disableAccount(io.github.loomgrpc.v1.DisableAccountRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getDisableAccountMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Begins an OAuth login (authorization code with PKCE), for a new account or for one whose tokens are no longer taken.
     * </pre>
     */
    public io.github.loomgrpc.v1.StartLoginResponse startLogin(io.github.loomgrpc.v1.StartLoginRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getStartLoginMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Finishes an OAuth login with what the provider showed or sent after it.
     * </pre>
     */
    public io.github.loomgrpc.v1.FinishLoginResponse finishLogin(io.github.loomgrpc.v1.FinishLoginRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getFinishLoginMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Tells how all accounts fare, and again whenever one of them changes its status, is added or is removed.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.github.loomgrpc.v1.WatchHealthResponse>
        watchHealth(io.github.loomgrpc.v1.WatchHealthRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getWatchHealthMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Reads the configuration again and serves by it from now on; calls in flight end as they would. A configuration that cannot be
     * served is refused with INVALID_REQUEST and all of its problems, and the one before stays.
     * </pre>
     */
    public io.github.loomgrpc.v1.ReloadConfigResponse reloadConfig(io.github.loomgrpc.v1.ReloadConfigRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getReloadConfigMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Makes an organization.
     * </pre>
     */
    public io.github.loomgrpc.v1.CreateOrganizationResponse createOrganization(io.github.loomgrpc.v1.CreateOrganizationRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCreateOrganizationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists organizations by their ids.
     * </pre>
     */
    public io.github.loomgrpc.v1.ListOrganizationsResponse listOrganizations(io.github.loomgrpc.v1.ListOrganizationsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListOrganizationsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Changes an organization: the fields of `update_mask`, or all that are set where it is empty.
     * </pre>
     */
    public io.github.loomgrpc.v1.UpdateOrganizationResponse updateOrganization(io.github.loomgrpc.v1.UpdateOrganizationRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getUpdateOrganizationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes an organization; refused with CONFLICT while teams, users or keys belong to it.
     * </pre>
     */
    public io.github.loomgrpc.v1.DeleteOrganizationResponse deleteOrganization(io.github.loomgrpc.v1.DeleteOrganizationRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getDeleteOrganizationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Makes a team.
     * </pre>
     */
    public io.github.loomgrpc.v1.CreateTeamResponse createTeam(io.github.loomgrpc.v1.CreateTeamRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCreateTeamMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists teams by their ids.
     * </pre>
     */
    public io.github.loomgrpc.v1.ListTeamsResponse listTeams(io.github.loomgrpc.v1.ListTeamsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListTeamsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Changes a team: the fields of `update_mask`, or all that are set where it is empty.
     * </pre>
     */
    public io.github.loomgrpc.v1.UpdateTeamResponse updateTeam(io.github.loomgrpc.v1.UpdateTeamRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getUpdateTeamMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes a team; refused with CONFLICT while users or keys belong to it.
     * </pre>
     */
    public io.github.loomgrpc.v1.DeleteTeamResponse deleteTeam(io.github.loomgrpc.v1.DeleteTeamRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getDeleteTeamMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Makes a user.
     * </pre>
     */
    public io.github.loomgrpc.v1.CreateUserResponse createUser(io.github.loomgrpc.v1.CreateUserRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCreateUserMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists users by their ids.
     * </pre>
     */
    public io.github.loomgrpc.v1.ListUsersResponse listUsers(io.github.loomgrpc.v1.ListUsersRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListUsersMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Changes a user: the fields of `update_mask`, or all that are set where it is empty.
     * </pre>
     */
    public io.github.loomgrpc.v1.UpdateUserResponse updateUser(io.github.loomgrpc.v1.UpdateUserRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getUpdateUserMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes a user; refused with CONFLICT while keys belong to it.
     * </pre>
     */
    public io.github.loomgrpc.v1.DeleteUserResponse deleteUser(io.github.loomgrpc.v1.DeleteUserRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getDeleteUserMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Makes a key and tells its text, this once.
     * </pre>
     */
    public io.github.loomgrpc.v1.CreateKeyResponse createKey(io.github.loomgrpc.v1.CreateKeyRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCreateKeyMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists keys, the newest first.
     * </pre>
     */
    public io.github.loomgrpc.v1.ListKeysResponse listKeys(io.github.loomgrpc.v1.ListKeysRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListKeysMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Changes a key: its name, its expiry, what it is allowed and its limits.
     * </pre>
     */
    public io.github.loomgrpc.v1.UpdateKeyResponse updateKey(io.github.loomgrpc.v1.UpdateKeyRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getUpdateKeyMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Makes a key that takes another one's place, and lets the old one end after a while. The new one ends when the old one would have, and
     * has budgets like it, of which nothing is spent yet.
     * </pre>
     */
    public io.github.loomgrpc.v1.RotateKeyResponse rotateKey(io.github.loomgrpc.v1.RotateKeyRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRotateKeyMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Ends a key; within 2 seconds no server takes it any more.
     * </pre>
     */
    public io.github.loomgrpc.v1.RevokeKeyResponse revokeKey(io.github.loomgrpc.v1.RevokeKeyRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRevokeKeyMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Makes a budget; a scope has at most one for each period.
     * </pre>
     */
    public io.github.loomgrpc.v1.CreateBudgetResponse createBudget(io.github.loomgrpc.v1.CreateBudgetRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCreateBudgetMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists budgets, with what was spent and is reserved.
     * </pre>
     */
    public io.github.loomgrpc.v1.ListBudgetsResponse listBudgets(io.github.loomgrpc.v1.ListBudgetsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListBudgetsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Changes how much may be spent.
     * </pre>
     */
    public io.github.loomgrpc.v1.UpdateBudgetResponse updateBudget(io.github.loomgrpc.v1.UpdateBudgetRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getUpdateBudgetMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes a budget.
     * </pre>
     */
    public io.github.loomgrpc.v1.DeleteBudgetResponse deleteBudget(io.github.loomgrpc.v1.DeleteBudgetRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getDeleteBudgetMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Adds up what was called, by time, caller, model or label.
     * </pre>
     */
    public io.github.loomgrpc.v1.QueryUsageResponse queryUsage(io.github.loomgrpc.v1.QueryUsageRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getQueryUsageMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists the records of calls, the newest first, without prompts and answers.
     * </pre>
     */
    public io.github.loomgrpc.v1.ListCallsResponse listCalls(io.github.loomgrpc.v1.ListCallsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListCallsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Returns the record of one call, with prompt and answer where they are kept.
     * </pre>
     */
    public io.github.loomgrpc.v1.GetCallResponse getCall(io.github.loomgrpc.v1.GetCallRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetCallMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Sends the records of calls, the oldest first, with how many there are.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, io.github.loomgrpc.v1.ExportCallsResponse>
        exportCalls(io.github.loomgrpc.v1.ExportCallsRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getExportCallsMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service AdminService.
   * <pre>
   * What operators do while the server runs.
   * Every call needs the credentials of an admin: `authorization: Bearer` with the admin key of the configuration (`admin.api_key`), or
   * with a key or a token whose role is admin. Where there is neither, the server refuses them all with PERMISSION_DENIED, on a
   * loopback address too. No answer holds a secret but the text of a key that was just made. Errors are those of LlmService.
   * </pre>
   */
  public static final class AdminServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<AdminServiceBlockingStub> {
    private AdminServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected AdminServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new AdminServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Lists the accounts that providers are asked with, and how they fare.
     * </pre>
     */
    public io.github.loomgrpc.v1.ListAccountsResponse listAccounts(io.github.loomgrpc.v1.ListAccountsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListAccountsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Adds an account with a key of the provider. It is kept across restarts.
     * </pre>
     */
    public io.github.loomgrpc.v1.AddAccountResponse addAccount(io.github.loomgrpc.v1.AddAccountRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getAddAccountMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes an account and forgets its key or tokens; calls in flight end as they would. An account of the configuration can
     * only be disabled.
     * </pre>
     */
    public io.github.loomgrpc.v1.RemoveAccountResponse removeAccount(io.github.loomgrpc.v1.RemoveAccountRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRemoveAccountMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lets an account be asked again: ends its pause, or takes back that it was disabled.
     * </pre>
     */
    public io.github.loomgrpc.v1.EnableAccountResponse enableAccount(io.github.loomgrpc.v1.EnableAccountRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getEnableAccountMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Keeps an account from being asked until it is enabled, also across restarts.
     * </pre>
     */
    public io.github.loomgrpc.v1.DisableAccountResponse disableAccount(io.github.loomgrpc.v1.DisableAccountRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getDisableAccountMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Begins an OAuth login (authorization code with PKCE), for a new account or for one whose tokens are no longer taken.
     * </pre>
     */
    public io.github.loomgrpc.v1.StartLoginResponse startLogin(io.github.loomgrpc.v1.StartLoginRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getStartLoginMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Finishes an OAuth login with what the provider showed or sent after it.
     * </pre>
     */
    public io.github.loomgrpc.v1.FinishLoginResponse finishLogin(io.github.loomgrpc.v1.FinishLoginRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getFinishLoginMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Tells how all accounts fare, and again whenever one of them changes its status, is added or is removed.
     * </pre>
     */
    public java.util.Iterator<io.github.loomgrpc.v1.WatchHealthResponse> watchHealth(
        io.github.loomgrpc.v1.WatchHealthRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getWatchHealthMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Reads the configuration again and serves by it from now on; calls in flight end as they would. A configuration that cannot be
     * served is refused with INVALID_REQUEST and all of its problems, and the one before stays.
     * </pre>
     */
    public io.github.loomgrpc.v1.ReloadConfigResponse reloadConfig(io.github.loomgrpc.v1.ReloadConfigRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getReloadConfigMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Makes an organization.
     * </pre>
     */
    public io.github.loomgrpc.v1.CreateOrganizationResponse createOrganization(io.github.loomgrpc.v1.CreateOrganizationRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCreateOrganizationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists organizations by their ids.
     * </pre>
     */
    public io.github.loomgrpc.v1.ListOrganizationsResponse listOrganizations(io.github.loomgrpc.v1.ListOrganizationsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListOrganizationsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Changes an organization: the fields of `update_mask`, or all that are set where it is empty.
     * </pre>
     */
    public io.github.loomgrpc.v1.UpdateOrganizationResponse updateOrganization(io.github.loomgrpc.v1.UpdateOrganizationRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getUpdateOrganizationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes an organization; refused with CONFLICT while teams, users or keys belong to it.
     * </pre>
     */
    public io.github.loomgrpc.v1.DeleteOrganizationResponse deleteOrganization(io.github.loomgrpc.v1.DeleteOrganizationRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getDeleteOrganizationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Makes a team.
     * </pre>
     */
    public io.github.loomgrpc.v1.CreateTeamResponse createTeam(io.github.loomgrpc.v1.CreateTeamRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCreateTeamMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists teams by their ids.
     * </pre>
     */
    public io.github.loomgrpc.v1.ListTeamsResponse listTeams(io.github.loomgrpc.v1.ListTeamsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListTeamsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Changes a team: the fields of `update_mask`, or all that are set where it is empty.
     * </pre>
     */
    public io.github.loomgrpc.v1.UpdateTeamResponse updateTeam(io.github.loomgrpc.v1.UpdateTeamRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getUpdateTeamMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes a team; refused with CONFLICT while users or keys belong to it.
     * </pre>
     */
    public io.github.loomgrpc.v1.DeleteTeamResponse deleteTeam(io.github.loomgrpc.v1.DeleteTeamRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getDeleteTeamMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Makes a user.
     * </pre>
     */
    public io.github.loomgrpc.v1.CreateUserResponse createUser(io.github.loomgrpc.v1.CreateUserRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCreateUserMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists users by their ids.
     * </pre>
     */
    public io.github.loomgrpc.v1.ListUsersResponse listUsers(io.github.loomgrpc.v1.ListUsersRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListUsersMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Changes a user: the fields of `update_mask`, or all that are set where it is empty.
     * </pre>
     */
    public io.github.loomgrpc.v1.UpdateUserResponse updateUser(io.github.loomgrpc.v1.UpdateUserRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getUpdateUserMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes a user; refused with CONFLICT while keys belong to it.
     * </pre>
     */
    public io.github.loomgrpc.v1.DeleteUserResponse deleteUser(io.github.loomgrpc.v1.DeleteUserRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getDeleteUserMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Makes a key and tells its text, this once.
     * </pre>
     */
    public io.github.loomgrpc.v1.CreateKeyResponse createKey(io.github.loomgrpc.v1.CreateKeyRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCreateKeyMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists keys, the newest first.
     * </pre>
     */
    public io.github.loomgrpc.v1.ListKeysResponse listKeys(io.github.loomgrpc.v1.ListKeysRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListKeysMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Changes a key: its name, its expiry, what it is allowed and its limits.
     * </pre>
     */
    public io.github.loomgrpc.v1.UpdateKeyResponse updateKey(io.github.loomgrpc.v1.UpdateKeyRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getUpdateKeyMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Makes a key that takes another one's place, and lets the old one end after a while. The new one ends when the old one would have, and
     * has budgets like it, of which nothing is spent yet.
     * </pre>
     */
    public io.github.loomgrpc.v1.RotateKeyResponse rotateKey(io.github.loomgrpc.v1.RotateKeyRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRotateKeyMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Ends a key; within 2 seconds no server takes it any more.
     * </pre>
     */
    public io.github.loomgrpc.v1.RevokeKeyResponse revokeKey(io.github.loomgrpc.v1.RevokeKeyRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRevokeKeyMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Makes a budget; a scope has at most one for each period.
     * </pre>
     */
    public io.github.loomgrpc.v1.CreateBudgetResponse createBudget(io.github.loomgrpc.v1.CreateBudgetRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCreateBudgetMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists budgets, with what was spent and is reserved.
     * </pre>
     */
    public io.github.loomgrpc.v1.ListBudgetsResponse listBudgets(io.github.loomgrpc.v1.ListBudgetsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListBudgetsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Changes how much may be spent.
     * </pre>
     */
    public io.github.loomgrpc.v1.UpdateBudgetResponse updateBudget(io.github.loomgrpc.v1.UpdateBudgetRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getUpdateBudgetMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes a budget.
     * </pre>
     */
    public io.github.loomgrpc.v1.DeleteBudgetResponse deleteBudget(io.github.loomgrpc.v1.DeleteBudgetRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getDeleteBudgetMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Adds up what was called, by time, caller, model or label.
     * </pre>
     */
    public io.github.loomgrpc.v1.QueryUsageResponse queryUsage(io.github.loomgrpc.v1.QueryUsageRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getQueryUsageMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Lists the records of calls, the newest first, without prompts and answers.
     * </pre>
     */
    public io.github.loomgrpc.v1.ListCallsResponse listCalls(io.github.loomgrpc.v1.ListCallsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListCallsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Returns the record of one call, with prompt and answer where they are kept.
     * </pre>
     */
    public io.github.loomgrpc.v1.GetCallResponse getCall(io.github.loomgrpc.v1.GetCallRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetCallMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Sends the records of calls, the oldest first, with how many there are.
     * </pre>
     */
    public java.util.Iterator<io.github.loomgrpc.v1.ExportCallsResponse> exportCalls(
        io.github.loomgrpc.v1.ExportCallsRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getExportCallsMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service AdminService.
   * <pre>
   * What operators do while the server runs.
   * Every call needs the credentials of an admin: `authorization: Bearer` with the admin key of the configuration (`admin.api_key`), or
   * with a key or a token whose role is admin. Where there is neither, the server refuses them all with PERMISSION_DENIED, on a
   * loopback address too. No answer holds a secret but the text of a key that was just made. Errors are those of LlmService.
   * </pre>
   */
  public static final class AdminServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<AdminServiceFutureStub> {
    private AdminServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected AdminServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new AdminServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Lists the accounts that providers are asked with, and how they fare.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.ListAccountsResponse> listAccounts(
        io.github.loomgrpc.v1.ListAccountsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListAccountsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Adds an account with a key of the provider. It is kept across restarts.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.AddAccountResponse> addAccount(
        io.github.loomgrpc.v1.AddAccountRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getAddAccountMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Removes an account and forgets its key or tokens; calls in flight end as they would. An account of the configuration can
     * only be disabled.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.RemoveAccountResponse> removeAccount(
        io.github.loomgrpc.v1.RemoveAccountRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRemoveAccountMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lets an account be asked again: ends its pause, or takes back that it was disabled.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.EnableAccountResponse> enableAccount(
        io.github.loomgrpc.v1.EnableAccountRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getEnableAccountMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Keeps an account from being asked until it is enabled, also across restarts.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.DisableAccountResponse> disableAccount(
        io.github.loomgrpc.v1.DisableAccountRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getDisableAccountMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Begins an OAuth login (authorization code with PKCE), for a new account or for one whose tokens are no longer taken.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.StartLoginResponse> startLogin(
        io.github.loomgrpc.v1.StartLoginRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getStartLoginMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Finishes an OAuth login with what the provider showed or sent after it.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.FinishLoginResponse> finishLogin(
        io.github.loomgrpc.v1.FinishLoginRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getFinishLoginMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Reads the configuration again and serves by it from now on; calls in flight end as they would. A configuration that cannot be
     * served is refused with INVALID_REQUEST and all of its problems, and the one before stays.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.ReloadConfigResponse> reloadConfig(
        io.github.loomgrpc.v1.ReloadConfigRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getReloadConfigMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Makes an organization.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.CreateOrganizationResponse> createOrganization(
        io.github.loomgrpc.v1.CreateOrganizationRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCreateOrganizationMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists organizations by their ids.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.ListOrganizationsResponse> listOrganizations(
        io.github.loomgrpc.v1.ListOrganizationsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListOrganizationsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Changes an organization: the fields of `update_mask`, or all that are set where it is empty.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.UpdateOrganizationResponse> updateOrganization(
        io.github.loomgrpc.v1.UpdateOrganizationRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getUpdateOrganizationMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Removes an organization; refused with CONFLICT while teams, users or keys belong to it.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.DeleteOrganizationResponse> deleteOrganization(
        io.github.loomgrpc.v1.DeleteOrganizationRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getDeleteOrganizationMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Makes a team.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.CreateTeamResponse> createTeam(
        io.github.loomgrpc.v1.CreateTeamRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCreateTeamMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists teams by their ids.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.ListTeamsResponse> listTeams(
        io.github.loomgrpc.v1.ListTeamsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListTeamsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Changes a team: the fields of `update_mask`, or all that are set where it is empty.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.UpdateTeamResponse> updateTeam(
        io.github.loomgrpc.v1.UpdateTeamRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getUpdateTeamMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Removes a team; refused with CONFLICT while users or keys belong to it.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.DeleteTeamResponse> deleteTeam(
        io.github.loomgrpc.v1.DeleteTeamRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getDeleteTeamMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Makes a user.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.CreateUserResponse> createUser(
        io.github.loomgrpc.v1.CreateUserRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCreateUserMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists users by their ids.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.ListUsersResponse> listUsers(
        io.github.loomgrpc.v1.ListUsersRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListUsersMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Changes a user: the fields of `update_mask`, or all that are set where it is empty.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.UpdateUserResponse> updateUser(
        io.github.loomgrpc.v1.UpdateUserRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getUpdateUserMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Removes a user; refused with CONFLICT while keys belong to it.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.DeleteUserResponse> deleteUser(
        io.github.loomgrpc.v1.DeleteUserRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getDeleteUserMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Makes a key and tells its text, this once.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.CreateKeyResponse> createKey(
        io.github.loomgrpc.v1.CreateKeyRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCreateKeyMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists keys, the newest first.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.ListKeysResponse> listKeys(
        io.github.loomgrpc.v1.ListKeysRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListKeysMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Changes a key: its name, its expiry, what it is allowed and its limits.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.UpdateKeyResponse> updateKey(
        io.github.loomgrpc.v1.UpdateKeyRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getUpdateKeyMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Makes a key that takes another one's place, and lets the old one end after a while. The new one ends when the old one would have, and
     * has budgets like it, of which nothing is spent yet.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.RotateKeyResponse> rotateKey(
        io.github.loomgrpc.v1.RotateKeyRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRotateKeyMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Ends a key; within 2 seconds no server takes it any more.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.RevokeKeyResponse> revokeKey(
        io.github.loomgrpc.v1.RevokeKeyRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRevokeKeyMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Makes a budget; a scope has at most one for each period.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.CreateBudgetResponse> createBudget(
        io.github.loomgrpc.v1.CreateBudgetRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCreateBudgetMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists budgets, with what was spent and is reserved.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.ListBudgetsResponse> listBudgets(
        io.github.loomgrpc.v1.ListBudgetsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListBudgetsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Changes how much may be spent.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.UpdateBudgetResponse> updateBudget(
        io.github.loomgrpc.v1.UpdateBudgetRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getUpdateBudgetMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Removes a budget.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.DeleteBudgetResponse> deleteBudget(
        io.github.loomgrpc.v1.DeleteBudgetRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getDeleteBudgetMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Adds up what was called, by time, caller, model or label.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.QueryUsageResponse> queryUsage(
        io.github.loomgrpc.v1.QueryUsageRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getQueryUsageMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Lists the records of calls, the newest first, without prompts and answers.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.ListCallsResponse> listCalls(
        io.github.loomgrpc.v1.ListCallsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListCallsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Returns the record of one call, with prompt and answer where they are kept.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<io.github.loomgrpc.v1.GetCallResponse> getCall(
        io.github.loomgrpc.v1.GetCallRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetCallMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_LIST_ACCOUNTS = 0;
  private static final int METHODID_ADD_ACCOUNT = 1;
  private static final int METHODID_REMOVE_ACCOUNT = 2;
  private static final int METHODID_ENABLE_ACCOUNT = 3;
  private static final int METHODID_DISABLE_ACCOUNT = 4;
  private static final int METHODID_START_LOGIN = 5;
  private static final int METHODID_FINISH_LOGIN = 6;
  private static final int METHODID_WATCH_HEALTH = 7;
  private static final int METHODID_RELOAD_CONFIG = 8;
  private static final int METHODID_CREATE_ORGANIZATION = 9;
  private static final int METHODID_LIST_ORGANIZATIONS = 10;
  private static final int METHODID_UPDATE_ORGANIZATION = 11;
  private static final int METHODID_DELETE_ORGANIZATION = 12;
  private static final int METHODID_CREATE_TEAM = 13;
  private static final int METHODID_LIST_TEAMS = 14;
  private static final int METHODID_UPDATE_TEAM = 15;
  private static final int METHODID_DELETE_TEAM = 16;
  private static final int METHODID_CREATE_USER = 17;
  private static final int METHODID_LIST_USERS = 18;
  private static final int METHODID_UPDATE_USER = 19;
  private static final int METHODID_DELETE_USER = 20;
  private static final int METHODID_CREATE_KEY = 21;
  private static final int METHODID_LIST_KEYS = 22;
  private static final int METHODID_UPDATE_KEY = 23;
  private static final int METHODID_ROTATE_KEY = 24;
  private static final int METHODID_REVOKE_KEY = 25;
  private static final int METHODID_CREATE_BUDGET = 26;
  private static final int METHODID_LIST_BUDGETS = 27;
  private static final int METHODID_UPDATE_BUDGET = 28;
  private static final int METHODID_DELETE_BUDGET = 29;
  private static final int METHODID_QUERY_USAGE = 30;
  private static final int METHODID_LIST_CALLS = 31;
  private static final int METHODID_GET_CALL = 32;
  private static final int METHODID_EXPORT_CALLS = 33;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final AsyncService serviceImpl;
    private final int methodId;

    MethodHandlers(AsyncService serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_LIST_ACCOUNTS:
          serviceImpl.listAccounts((io.github.loomgrpc.v1.ListAccountsRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListAccountsResponse>) responseObserver);
          break;
        case METHODID_ADD_ACCOUNT:
          serviceImpl.addAccount((io.github.loomgrpc.v1.AddAccountRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.AddAccountResponse>) responseObserver);
          break;
        case METHODID_REMOVE_ACCOUNT:
          serviceImpl.removeAccount((io.github.loomgrpc.v1.RemoveAccountRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.RemoveAccountResponse>) responseObserver);
          break;
        case METHODID_ENABLE_ACCOUNT:
          serviceImpl.enableAccount((io.github.loomgrpc.v1.EnableAccountRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.EnableAccountResponse>) responseObserver);
          break;
        case METHODID_DISABLE_ACCOUNT:
          serviceImpl.disableAccount((io.github.loomgrpc.v1.DisableAccountRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.DisableAccountResponse>) responseObserver);
          break;
        case METHODID_START_LOGIN:
          serviceImpl.startLogin((io.github.loomgrpc.v1.StartLoginRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.StartLoginResponse>) responseObserver);
          break;
        case METHODID_FINISH_LOGIN:
          serviceImpl.finishLogin((io.github.loomgrpc.v1.FinishLoginRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.FinishLoginResponse>) responseObserver);
          break;
        case METHODID_WATCH_HEALTH:
          serviceImpl.watchHealth((io.github.loomgrpc.v1.WatchHealthRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.WatchHealthResponse>) responseObserver);
          break;
        case METHODID_RELOAD_CONFIG:
          serviceImpl.reloadConfig((io.github.loomgrpc.v1.ReloadConfigRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ReloadConfigResponse>) responseObserver);
          break;
        case METHODID_CREATE_ORGANIZATION:
          serviceImpl.createOrganization((io.github.loomgrpc.v1.CreateOrganizationRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CreateOrganizationResponse>) responseObserver);
          break;
        case METHODID_LIST_ORGANIZATIONS:
          serviceImpl.listOrganizations((io.github.loomgrpc.v1.ListOrganizationsRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListOrganizationsResponse>) responseObserver);
          break;
        case METHODID_UPDATE_ORGANIZATION:
          serviceImpl.updateOrganization((io.github.loomgrpc.v1.UpdateOrganizationRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.UpdateOrganizationResponse>) responseObserver);
          break;
        case METHODID_DELETE_ORGANIZATION:
          serviceImpl.deleteOrganization((io.github.loomgrpc.v1.DeleteOrganizationRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.DeleteOrganizationResponse>) responseObserver);
          break;
        case METHODID_CREATE_TEAM:
          serviceImpl.createTeam((io.github.loomgrpc.v1.CreateTeamRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CreateTeamResponse>) responseObserver);
          break;
        case METHODID_LIST_TEAMS:
          serviceImpl.listTeams((io.github.loomgrpc.v1.ListTeamsRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListTeamsResponse>) responseObserver);
          break;
        case METHODID_UPDATE_TEAM:
          serviceImpl.updateTeam((io.github.loomgrpc.v1.UpdateTeamRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.UpdateTeamResponse>) responseObserver);
          break;
        case METHODID_DELETE_TEAM:
          serviceImpl.deleteTeam((io.github.loomgrpc.v1.DeleteTeamRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.DeleteTeamResponse>) responseObserver);
          break;
        case METHODID_CREATE_USER:
          serviceImpl.createUser((io.github.loomgrpc.v1.CreateUserRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CreateUserResponse>) responseObserver);
          break;
        case METHODID_LIST_USERS:
          serviceImpl.listUsers((io.github.loomgrpc.v1.ListUsersRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListUsersResponse>) responseObserver);
          break;
        case METHODID_UPDATE_USER:
          serviceImpl.updateUser((io.github.loomgrpc.v1.UpdateUserRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.UpdateUserResponse>) responseObserver);
          break;
        case METHODID_DELETE_USER:
          serviceImpl.deleteUser((io.github.loomgrpc.v1.DeleteUserRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.DeleteUserResponse>) responseObserver);
          break;
        case METHODID_CREATE_KEY:
          serviceImpl.createKey((io.github.loomgrpc.v1.CreateKeyRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CreateKeyResponse>) responseObserver);
          break;
        case METHODID_LIST_KEYS:
          serviceImpl.listKeys((io.github.loomgrpc.v1.ListKeysRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListKeysResponse>) responseObserver);
          break;
        case METHODID_UPDATE_KEY:
          serviceImpl.updateKey((io.github.loomgrpc.v1.UpdateKeyRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.UpdateKeyResponse>) responseObserver);
          break;
        case METHODID_ROTATE_KEY:
          serviceImpl.rotateKey((io.github.loomgrpc.v1.RotateKeyRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.RotateKeyResponse>) responseObserver);
          break;
        case METHODID_REVOKE_KEY:
          serviceImpl.revokeKey((io.github.loomgrpc.v1.RevokeKeyRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.RevokeKeyResponse>) responseObserver);
          break;
        case METHODID_CREATE_BUDGET:
          serviceImpl.createBudget((io.github.loomgrpc.v1.CreateBudgetRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.CreateBudgetResponse>) responseObserver);
          break;
        case METHODID_LIST_BUDGETS:
          serviceImpl.listBudgets((io.github.loomgrpc.v1.ListBudgetsRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListBudgetsResponse>) responseObserver);
          break;
        case METHODID_UPDATE_BUDGET:
          serviceImpl.updateBudget((io.github.loomgrpc.v1.UpdateBudgetRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.UpdateBudgetResponse>) responseObserver);
          break;
        case METHODID_DELETE_BUDGET:
          serviceImpl.deleteBudget((io.github.loomgrpc.v1.DeleteBudgetRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.DeleteBudgetResponse>) responseObserver);
          break;
        case METHODID_QUERY_USAGE:
          serviceImpl.queryUsage((io.github.loomgrpc.v1.QueryUsageRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.QueryUsageResponse>) responseObserver);
          break;
        case METHODID_LIST_CALLS:
          serviceImpl.listCalls((io.github.loomgrpc.v1.ListCallsRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ListCallsResponse>) responseObserver);
          break;
        case METHODID_GET_CALL:
          serviceImpl.getCall((io.github.loomgrpc.v1.GetCallRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.GetCallResponse>) responseObserver);
          break;
        case METHODID_EXPORT_CALLS:
          serviceImpl.exportCalls((io.github.loomgrpc.v1.ExportCallsRequest) request,
              (io.grpc.stub.StreamObserver<io.github.loomgrpc.v1.ExportCallsResponse>) responseObserver);
          break;
        default:
          throw new AssertionError();
      }
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public io.grpc.stub.StreamObserver<Req> invoke(
        io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        default:
          throw new AssertionError();
      }
    }
  }

  public static final io.grpc.ServerServiceDefinition bindService(AsyncService service) {
    return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
        .addMethod(
          getListAccountsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.ListAccountsRequest,
              io.github.loomgrpc.v1.ListAccountsResponse>(
                service, METHODID_LIST_ACCOUNTS)))
        .addMethod(
          getAddAccountMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.AddAccountRequest,
              io.github.loomgrpc.v1.AddAccountResponse>(
                service, METHODID_ADD_ACCOUNT)))
        .addMethod(
          getRemoveAccountMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.RemoveAccountRequest,
              io.github.loomgrpc.v1.RemoveAccountResponse>(
                service, METHODID_REMOVE_ACCOUNT)))
        .addMethod(
          getEnableAccountMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.EnableAccountRequest,
              io.github.loomgrpc.v1.EnableAccountResponse>(
                service, METHODID_ENABLE_ACCOUNT)))
        .addMethod(
          getDisableAccountMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.DisableAccountRequest,
              io.github.loomgrpc.v1.DisableAccountResponse>(
                service, METHODID_DISABLE_ACCOUNT)))
        .addMethod(
          getStartLoginMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.StartLoginRequest,
              io.github.loomgrpc.v1.StartLoginResponse>(
                service, METHODID_START_LOGIN)))
        .addMethod(
          getFinishLoginMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.FinishLoginRequest,
              io.github.loomgrpc.v1.FinishLoginResponse>(
                service, METHODID_FINISH_LOGIN)))
        .addMethod(
          getWatchHealthMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.WatchHealthRequest,
              io.github.loomgrpc.v1.WatchHealthResponse>(
                service, METHODID_WATCH_HEALTH)))
        .addMethod(
          getReloadConfigMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.ReloadConfigRequest,
              io.github.loomgrpc.v1.ReloadConfigResponse>(
                service, METHODID_RELOAD_CONFIG)))
        .addMethod(
          getCreateOrganizationMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.CreateOrganizationRequest,
              io.github.loomgrpc.v1.CreateOrganizationResponse>(
                service, METHODID_CREATE_ORGANIZATION)))
        .addMethod(
          getListOrganizationsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.ListOrganizationsRequest,
              io.github.loomgrpc.v1.ListOrganizationsResponse>(
                service, METHODID_LIST_ORGANIZATIONS)))
        .addMethod(
          getUpdateOrganizationMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.UpdateOrganizationRequest,
              io.github.loomgrpc.v1.UpdateOrganizationResponse>(
                service, METHODID_UPDATE_ORGANIZATION)))
        .addMethod(
          getDeleteOrganizationMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.DeleteOrganizationRequest,
              io.github.loomgrpc.v1.DeleteOrganizationResponse>(
                service, METHODID_DELETE_ORGANIZATION)))
        .addMethod(
          getCreateTeamMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.CreateTeamRequest,
              io.github.loomgrpc.v1.CreateTeamResponse>(
                service, METHODID_CREATE_TEAM)))
        .addMethod(
          getListTeamsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.ListTeamsRequest,
              io.github.loomgrpc.v1.ListTeamsResponse>(
                service, METHODID_LIST_TEAMS)))
        .addMethod(
          getUpdateTeamMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.UpdateTeamRequest,
              io.github.loomgrpc.v1.UpdateTeamResponse>(
                service, METHODID_UPDATE_TEAM)))
        .addMethod(
          getDeleteTeamMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.DeleteTeamRequest,
              io.github.loomgrpc.v1.DeleteTeamResponse>(
                service, METHODID_DELETE_TEAM)))
        .addMethod(
          getCreateUserMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.CreateUserRequest,
              io.github.loomgrpc.v1.CreateUserResponse>(
                service, METHODID_CREATE_USER)))
        .addMethod(
          getListUsersMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.ListUsersRequest,
              io.github.loomgrpc.v1.ListUsersResponse>(
                service, METHODID_LIST_USERS)))
        .addMethod(
          getUpdateUserMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.UpdateUserRequest,
              io.github.loomgrpc.v1.UpdateUserResponse>(
                service, METHODID_UPDATE_USER)))
        .addMethod(
          getDeleteUserMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.DeleteUserRequest,
              io.github.loomgrpc.v1.DeleteUserResponse>(
                service, METHODID_DELETE_USER)))
        .addMethod(
          getCreateKeyMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.CreateKeyRequest,
              io.github.loomgrpc.v1.CreateKeyResponse>(
                service, METHODID_CREATE_KEY)))
        .addMethod(
          getListKeysMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.ListKeysRequest,
              io.github.loomgrpc.v1.ListKeysResponse>(
                service, METHODID_LIST_KEYS)))
        .addMethod(
          getUpdateKeyMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.UpdateKeyRequest,
              io.github.loomgrpc.v1.UpdateKeyResponse>(
                service, METHODID_UPDATE_KEY)))
        .addMethod(
          getRotateKeyMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.RotateKeyRequest,
              io.github.loomgrpc.v1.RotateKeyResponse>(
                service, METHODID_ROTATE_KEY)))
        .addMethod(
          getRevokeKeyMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.RevokeKeyRequest,
              io.github.loomgrpc.v1.RevokeKeyResponse>(
                service, METHODID_REVOKE_KEY)))
        .addMethod(
          getCreateBudgetMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.CreateBudgetRequest,
              io.github.loomgrpc.v1.CreateBudgetResponse>(
                service, METHODID_CREATE_BUDGET)))
        .addMethod(
          getListBudgetsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.ListBudgetsRequest,
              io.github.loomgrpc.v1.ListBudgetsResponse>(
                service, METHODID_LIST_BUDGETS)))
        .addMethod(
          getUpdateBudgetMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.UpdateBudgetRequest,
              io.github.loomgrpc.v1.UpdateBudgetResponse>(
                service, METHODID_UPDATE_BUDGET)))
        .addMethod(
          getDeleteBudgetMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.DeleteBudgetRequest,
              io.github.loomgrpc.v1.DeleteBudgetResponse>(
                service, METHODID_DELETE_BUDGET)))
        .addMethod(
          getQueryUsageMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.QueryUsageRequest,
              io.github.loomgrpc.v1.QueryUsageResponse>(
                service, METHODID_QUERY_USAGE)))
        .addMethod(
          getListCallsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.ListCallsRequest,
              io.github.loomgrpc.v1.ListCallsResponse>(
                service, METHODID_LIST_CALLS)))
        .addMethod(
          getGetCallMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.GetCallRequest,
              io.github.loomgrpc.v1.GetCallResponse>(
                service, METHODID_GET_CALL)))
        .addMethod(
          getExportCallsMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              io.github.loomgrpc.v1.ExportCallsRequest,
              io.github.loomgrpc.v1.ExportCallsResponse>(
                service, METHODID_EXPORT_CALLS)))
        .build();
  }

  private static abstract class AdminServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    AdminServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return io.github.loomgrpc.v1.AdminServiceProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("AdminService");
    }
  }

  private static final class AdminServiceFileDescriptorSupplier
      extends AdminServiceBaseDescriptorSupplier {
    AdminServiceFileDescriptorSupplier() {}
  }

  private static final class AdminServiceMethodDescriptorSupplier
      extends AdminServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    AdminServiceMethodDescriptorSupplier(java.lang.String methodName) {
      this.methodName = methodName;
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.MethodDescriptor getMethodDescriptor() {
      return getServiceDescriptor().findMethodByName(methodName);
    }
  }

  private static volatile io.grpc.ServiceDescriptor serviceDescriptor;

  public static io.grpc.ServiceDescriptor getServiceDescriptor() {
    io.grpc.ServiceDescriptor result = serviceDescriptor;
    if (result == null) {
      synchronized (AdminServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new AdminServiceFileDescriptorSupplier())
              .addMethod(getListAccountsMethod())
              .addMethod(getAddAccountMethod())
              .addMethod(getRemoveAccountMethod())
              .addMethod(getEnableAccountMethod())
              .addMethod(getDisableAccountMethod())
              .addMethod(getStartLoginMethod())
              .addMethod(getFinishLoginMethod())
              .addMethod(getWatchHealthMethod())
              .addMethod(getReloadConfigMethod())
              .addMethod(getCreateOrganizationMethod())
              .addMethod(getListOrganizationsMethod())
              .addMethod(getUpdateOrganizationMethod())
              .addMethod(getDeleteOrganizationMethod())
              .addMethod(getCreateTeamMethod())
              .addMethod(getListTeamsMethod())
              .addMethod(getUpdateTeamMethod())
              .addMethod(getDeleteTeamMethod())
              .addMethod(getCreateUserMethod())
              .addMethod(getListUsersMethod())
              .addMethod(getUpdateUserMethod())
              .addMethod(getDeleteUserMethod())
              .addMethod(getCreateKeyMethod())
              .addMethod(getListKeysMethod())
              .addMethod(getUpdateKeyMethod())
              .addMethod(getRotateKeyMethod())
              .addMethod(getRevokeKeyMethod())
              .addMethod(getCreateBudgetMethod())
              .addMethod(getListBudgetsMethod())
              .addMethod(getUpdateBudgetMethod())
              .addMethod(getDeleteBudgetMethod())
              .addMethod(getQueryUsageMethod())
              .addMethod(getListCallsMethod())
              .addMethod(getGetCallMethod())
              .addMethod(getExportCallsMethod())
              .build();
        }
      }
    }
    return result;
  }
}
